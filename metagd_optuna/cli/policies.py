"""Commands on meta-policies: list, describe, recommend and export them."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from metagd_optuna.cli.completion import policy_names, stored_runs, study_names, study_tasks, task_names
from metagd_optuna.cli.options import FOLDER, RUNS, STORAGE_HELP, reading
from metagd_optuna.cli.page import COLUMNS, print_blocks
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import in_python
from metagd_optuna.terminal import print_line, print_place, print_table

SHORTEST_ERROR = 40


@click.group(invoke_without_command=True)
@click.pass_context
def policies(context: click.Context) -> None:
    """List and describe meta-policies.

    \b
    Examples:
      metagd policies
      metagd policies show universal
    """
    if context.invoked_subcommand is None:
        context.invoke(list_policies)


@policies.command("list")
def list_policies() -> None:
    """List the policies of the package and of runs here.

    \b
    Example:
      metagd policies list
    """
    from metagd_optuna.policy.stored import load_policy, measured_result, stored_policies

    places = [*stored_policies(), *map(str, stored_runs())]
    if not places:
        print_line("no policy comes with this version, and none was found at runs/*/policies; metagd run makes them")
        return
    left = max(COLUMNS - max(map(len, places)) - len("  "), SHORTEST_ERROR)

    def row(place: str) -> tuple[str, str]:
        try:
            return place, measured_result(load_policy(place))
        except MetaGDError as error:  # one broken file must not hide the others
            return place, shorten(f"error: {str(error).removeprefix(f'{place}: ')}", left)

    print_table(["policy", "against the best baseline"], map(row, places))
    print_line("metagd policies show NAME|PATH tells the rule, and how to use it")


@policies.command("show")
@click.argument("policy", metavar="NAME|PATH", shell_complete=policy_names)
@click.option("--json", "as_json", is_flag=True, help="Prints the document, as it stands in a policy file.")
def show_policy(policy: str, *, as_json: bool) -> None:
    """Describe a policy.

    Its formula, what it does in words, where it was measured and with what result, and how to use it in fit.

    \b
    Examples:
      metagd policies show universal
      metagd policies show runs/quickstart/policies/breast_cancer.json --json
    """
    from metagd_optuna.policy.stored import load_policy
    from metagd_optuna.report.policy_page import policy_page

    loaded = load_policy(policy)
    if as_json:
        print_line(loaded.to_json().rstrip())
    else:
        print_blocks(policy_page(loaded, policy))


@click.command("recommend")
@click.argument("data", metavar="NAME|PATH", shell_complete=task_names)
@reading
def recommend_policy(data: str, **how: Any) -> None:
    """Log which policy to begin with on a task, and why.

    Finished studies in runs/ come first: one on the same data says what to use. Otherwise it is a policy that comes
    with the package, and the task is measured, in seconds and without training; nothing of it is kept.

    \b
    Examples:
      metagd recommend our_clinic.npz
      metagd recommend retinamnist --data-dir ~/data
      metagd recommend labs.csv --target outcome --patient case
    """
    from metagd_optuna.policy.words import in_words
    from metagd_optuna.tuning.recommend import (
        measure,
        measured_sentence,
        of_finished_study,
        package_policies,
        recommend,
    )

    own = of_finished_study(data, RUNS, log=print_line, **how)
    if own is not None:
        print_line(f"{own.path}: {own.policy.formula}")
        print_line(own.why)
        print_line(f"for your own training: load_policy({in_python(own.path)})")
        return
    print_line(f"no finished study in {RUNS}/ was run on these data")
    stored = package_policies()
    measured = measure(data, stored, log=print_line, **how)
    found = recommend(stored)
    print_line(f"{found.policy}: {stored[found.policy].formula}")
    print_line(in_words(stored[found.policy], measured["complexity"]))
    print_line(found.why)
    print_table(["alternative", "formula"], [(name, stored[name].formula) for name in found.alternatives])
    print_line(measured_sentence(measured, stored))
    print_line(f'for your own training: load_policy("{found.policy}")')


@click.command()
@click.option("--storage", metavar="URL", help=STORAGE_HELP + " Without it, runs/NAME/optuna.db, or else the newest.")
@click.option(
    "--study", required=True, metavar="NAME", shell_complete=study_names, help="The study's name: the stem of its file."
)
@click.option(
    "--task",
    required=True,
    metavar="TASK",
    shell_complete=study_tasks,
    help="The task whose policy is wanted; universal: one for all.",
)
@click.option("-o", "--output", metavar="FILE", type=FOLDER, default="policy.json", show_default=True)
@click.option("--method", metavar="NAME", help="Whose rule: meta-policy, a baseline ... Without it, the one to use.")
def export(storage: str | None, study: str, task: str, output: Path, method: str | None) -> None:
    """Write a rule of a study to a JSON file.

    Without --method it is the one to use: the searched policy if it is faster, else the best tuned baseline.

    \b
    Examples:
      metagd export --study quickstart --task breast_cancer
      metagd export --storage runs/quickstart/optuna.db --study quickstart --task breast_cancer -o best.json
      metagd export --study quickstart --task breast_cancer --method meta-policy -o searched.json
      metagd export --study one_for_all --task universal -o universal.json

    \b
    Then, in your own training:
      from metagd_optuna import MetaPolicyCallback, load_policy
      policy = load_policy("policy.json")
    """
    from metagd_optuna.study import export_policy

    policy = export_policy(study, task, storage, method=method)
    policy.save(output)
    print_line(policy.formula)
    print_place("written: ", output)
