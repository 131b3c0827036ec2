"""Commands on the suite: list its workloads, and run them."""

from __future__ import annotations

from pathlib import Path

import click

from metagd_optuna.cli.completion import policy_names, workload_names
from metagd_optuna.cli.options import DATA_FOLDER, FOLDER, RUNS
from metagd_optuna.terminal import print_line, print_place, print_table

_OUT = click.option(
    "--out", metavar="DIR", type=FOLDER, default=RUNS / "suite", show_default=True, help="Keeps all runs."
)
_DATA_DIR = click.option(
    "--data-dir", metavar="DIR", type=DATA_FOLDER, help="Where data files are looked for before a download."
)
_WORKLOADS = click.option(
    "--workload",
    "workloads",
    metavar="NAME",
    multiple=True,
    shell_complete=workload_names,
    help="Only this one; may be given again.",
)


@click.group(invoke_without_command=True)
@click.pass_context
def suite(context: click.Context) -> None:
    """Try rules for the learning rate on networks that differ.

    The suite is a list of workloads: a network, a task and a batch size each. Half of them are for exploring, the other
    half for one confirmation.

    \b
    Examples:
      metagd suite list
      metagd suite run explore --data-dir ~/data
    """
    if context.invoked_subcommand is None:
        context.invoke(list_suite)


@suite.command("list")
def list_suite() -> None:
    """List the workloads.

    \b
    Example:
      metagd suite list
    """
    from metagd_optuna.suite.workloads import WORKLOADS

    columns = ["workload", "network", "task", "batch", "pre-trained on", "half"]
    print_table(columns, [each.row for each in WORKLOADS])


@suite.command("run")
@click.argument("half", type=click.Choice(("explore", "confirm")))
@_OUT
@_DATA_DIR
@_WORKLOADS
@click.option(
    "--policy",
    "policies",
    metavar="NAME|PATH",
    multiple=True,
    shell_complete=policy_names,
    help="A rule to train as well; may be given again.",
)
def run_suite(
    half: str, out: Path, data_dir: Path | None, workloads: tuple[str, ...], policies: tuple[str, ...]
) -> None:
    """Train what is missing of one half, and report on it.

    What it costs is said before each phase. Stopped, it goes on with the same command.

    \b
    Examples:
      metagd suite run explore --data-dir ~/data
      metagd suite run explore --workload mlp-narrow_breast_cancer_8
      metagd suite run confirm --data-dir ~/data --policy universal --policy mine.json
    """
    from metagd_optuna.training.startup import load_tensorflow

    load_tensorflow()  # before anything else loads it
    from metagd_optuna.suite.running import run_suite as run_half

    page = run_half(half, out, data_dir=data_dir, names=workloads, policies=policies, log=print_line)
    print_place("report: ", page)


@suite.command("signals")
@_OUT
@_DATA_DIR
@_WORKLOADS
def suite_signals(out: Path, data_dir: Path | None, workloads: tuple[str, ...]) -> None:
    """Measure what probes tell of the best rate.

    On the exploring half of the suite: the rank correlation of every signal with the best constant rate.

    The best rates are those of metagd suite run explore, in the same folder. Stopped, it goes on with the same command.

    \b
    Examples:
      metagd suite signals --data-dir ~/data
    """
    from metagd_optuna.training.startup import load_tensorflow

    load_tensorflow()
    from metagd_optuna.suite.signals import run_signals

    print_place("report: ", run_signals(out, data_dir=data_dir, names=workloads, log=print_line))


@suite.command("search")
@_OUT
def suite_search(out: Path) -> None:
    """Search rules that look at probes.

    Each is also searched without each network in turn. What metagd suite run explore and metagd suite signals left in
    the folder is all that it takes, so nothing is trained. The rules found on all workloads are written to its folder
    rules, one for each rate that probes tell.

    \b
    Examples:
      metagd suite search
      metagd suite run explore --data-dir ~/data --policy runs/suite/rules/probed-best.json
    """
    from metagd_optuna.training.startup import load_tensorflow

    load_tensorflow()
    from metagd_optuna.suite.probed_rules import search_rules

    print_place("report: ", search_rules(out))
