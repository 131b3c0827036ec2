"""The command line: parse, call, print."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

from metagd_optuna.cli.policies import export, policies, recommend_policy
from metagd_optuna.cli.studies import dashboard, report, run, schema
from metagd_optuna.cli.suite import suite
from metagd_optuna.cli.tasks import tasks
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.terminal import print_error, set_up_streams


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends with status 2 and its text, without a traceback."""
    set_up_streams()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = metagd.main(given, prog_name="metagd", standalone_mode=False)
    except MetaGDError as error:
        code = 2
        print_error(f"error: {error}", given)
    except click.ClickException as error:
        code = error.exit_code
        error.show(file=(said := io.StringIO()))
        print_error(said.getvalue().rstrip(), given)
    except click.Abort:
        code = 1
    sys.exit(code or 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="metagd-optuna")
def metagd() -> None:
    """Find the rule for the learning rate that makes an image classifier converge fastest.

    A study searches two formulas, f (difficulty) and g (learning rate), against schedules that are tuned
    with the same budget, and a report says per task which one is faster and how sure that is.

    \b
    Examples:
      metagd tasks                                  which data sets there are
      metagd run studies/quickstart.toml            run a study; again to go on after a stop
      metagd dashboard                              watch it in the browser
      metagd export --study quickstart --task breast_cancer
      metagd policies show universal

    \b
    Names are completed by the shell after
      eval "$(_METAGD_COMPLETE=bash_source metagd)"     in bash; zsh_source in zsh
    """


for command in (run, report, export, tasks, policies, schema, recommend_policy, suite, dashboard):
    metagd.add_command(command)
