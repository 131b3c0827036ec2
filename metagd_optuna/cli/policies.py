"""Commands on meta-policies: list, describe, recommend and export them."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import click

from metagd_optuna.cli.options import DATA_FOLDER, FOLDER, RUNS, STORAGE_HELP
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.terminal import print_line, print_place, print_table


@click.group(invoke_without_command=True)
@click.pass_context
def policies(context: click.Context) -> None:
    """List and describe meta-policies.

    \b
    Examples:
      metagd policies
      metagd policies show runs/quickstart/policies/breast_cancer.json
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

    places = [*stored_policies(), *map(str, sorted(RUNS.glob("*/policies/*.json")))]
    if not places:
        print_line("no policy comes with this version, and none was found at runs/*/policies; metagd run makes them")
        return

    def row(place: str) -> tuple[str, str, str, str]:
        try:
            policy = load_policy(place)
        except MetaGDError as error:  # one broken file must not hide the others
            return place, "", "", f"error: {shorten(str(error).removeprefix(f'{place}: '), 100)}"
        return place, policy.optimizer, measured_result(policy), policy.formula

    print_table(["policy", "optimizer", "against the best baseline", "formula"], map(row, places))


@policies.command("show")
@click.argument("policy", metavar="NAME|PATH")
def show_policy(policy: str) -> None:
    """Describe a policy.

    Its formula, what it does in words, its coefficients, and where it comes from.

    \b
    Example:
      metagd policies show runs/quickstart/policies/breast_cancer.json
    """
    from metagd_optuna.policy.stored import load_policy
    from metagd_optuna.policy.words import in_words

    loaded = load_policy(policy)
    print_line(loaded.formula)
    # A policy that a study wrote knows the complexity of its task.
    stored = loaded.provenance.get("complexity")
    complexity = stored if isinstance(stored, float) and 0 <= stored <= 1 else 0.5
    print_line(f"At complexity c = {complexity:.3g}: {in_words(loaded, complexity)}")
    print_line(loaded.to_json())


@click.command("recommend")
@click.argument("data", metavar="NAME|PATH")
@click.option("--data-dir", metavar="DIR", type=DATA_FOLDER, help="Where data files are looked for before a download.")
def recommend_policy(data: str, data_dir: Path | None) -> None:
    """Log which stored policy to begin with on a task, and why.

    The task is measured, in seconds and without training; nothing of it is kept.

    \b
    Examples:
      metagd recommend our_clinic.npz
      metagd recommend retinamnist --data-dir ~/data
    """
    from metagd_optuna.policy.words import in_words
    from metagd_optuna.search.recommend import measure, measured_sentence, package_policies, recommend

    stored = package_policies()
    measured = measure(data, stored, data_dir=data_dir, log=print_line)
    found = recommend(stored)
    print_line(f"{found.policy}: {stored[found.policy].formula}")
    print_line(in_words(stored[found.policy], measured["complexity"]))
    print_line(found.why)
    print_table(["alternative", "formula"], [(name, stored[name].formula) for name in found.alternatives])
    print_line(measured_sentence(measured, stored))
    print_line(f'for your own training: load_policy("{found.policy}")')


@click.command()
@click.option("--storage", metavar="URL", help=STORAGE_HELP + " Without it, runs/NAME/optuna.db, or else the newest.")
@click.option("--study", required=True, metavar="NAME", help="The study's name: the stem of its file.")
@click.option("--task", required=True, metavar="TASK", help="The task whose policy is wanted; universal: one for all.")
@click.option("-o", "--output", metavar="FILE", type=FOLDER, default="policy.json", show_default=True)
def export(storage: str | None, study: str, task: str, output: Path) -> None:
    """Write the meta-policy of a study to a JSON file.

    \b
    Examples:
      metagd export --study quickstart --task breast_cancer
      metagd export --storage runs/quickstart/optuna.db --study quickstart --task breast_cancer -o best.json
      metagd export --study one_for_all --task universal -o universal.json

    \b
    Then, in your own training:
      from metagd_optuna import MetaPolicyCallback, load_policy
      policy = load_policy("policy.json")
    """
    from metagd_optuna.study import export_policy

    policy = export_policy(study, task, storage)
    policy.save(output)
    print_line(policy.formula)
    print_place("written: ", output)
