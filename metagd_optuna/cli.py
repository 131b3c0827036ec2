"""The command line: parse, call, print."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import in_python
from metagd_optuna.terminal import (
    console,
    print_error,
    print_line,
    print_pairs,
    print_place,
    print_table,
    set_up_streams,
)

RUNS = Path("runs")
FOLDER = click.Path(path_type=Path)
DATA_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
STORAGE_HELP = "SQLite file, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."


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
      metagd policies show runs/quickstart/policies/breast_cancer.json
    """


@metagd.command()
@click.argument("study", metavar="STUDY.toml", type=FOLDER)
@click.option("--storage", metavar="URL", help=STORAGE_HELP + " Without it, optuna.db in the study's folder.")
@click.option("--out", metavar="DIR", type=FOLDER, help="The study's own folder. Without it, runs/<study>.")
@click.option("--data-dir", metavar="DIR", type=DATA_FOLDER, help="Where data files are looked for before a download.")
@click.option("--workers", metavar="N", type=int, default=1, show_default=True, help="Worker processes; only 1 so far.")
@click.option("--allow-code", is_flag=True, help="Runs the function that the study file names as its network.")
def run(
    study: Path, storage: str | None, out: Path | None, data_dir: Path | None, workers: int, *, allow_code: bool
) -> None:
    """Run a study, or go on where it was stopped.

    Each task is audited, calibrated, searched (every baseline and the meta-policy with the same number of
    trials), confirmed on fresh seeds and reported. A complete study is reported again without training.

    \b
    Examples:
      metagd run studies/quickstart.toml
      metagd run my_study.toml --data-dir ~/data --out /scratch/my_study
      metagd run my_study.toml --storage postgresql://ann@db.example/metagd
    """
    if workers != 1:
        raise MetaGDError(
            f"--workers {workers}: one machine runs one worker, which trains a population at once; allowed is 1: "
            "leave the option out"
        )
    from metagd_optuna.search.study_file import load_study

    spec = load_study(study)  # before anything that takes seconds to load
    from metagd_optuna.search.progress import Progress
    from metagd_optuna.study import Interrupted, run_study

    try:
        found = run_study(
            spec, out=out, storage=storage, data_dir=data_dir, progress=Progress(console()), allow_code=allow_code
        )
    except Interrupted as stop:
        print_error(str(stop), ())
        sys.exit(130)
    for sentence in found.sentences:
        print_line(f"\n{sentence}")
    print_line("")
    # The others of a universal study are what the folds selected, which nobody trains with.
    policies = {"all tasks": found.policies["universal"]} if spec.universal else found.policies
    for task, policy in policies.items():
        print_line(f"the policy of {task}, for your own training: load_policy({in_python(policy)})")
    print_place("the study is complete; report: ", found.report)


@metagd.command()
@click.argument("run_dirs", metavar="RUN_DIR...", type=FOLDER, nargs=-1, required=True)
@click.option("--out", metavar="DIR", type=FOLDER, help="Where to write, by default over the report. Needed to merge.")
def report(run_dirs: tuple[Path, ...], out: Path | None) -> None:
    """Report on one run again, or on several as one.

    RUN_DIR is the folder of a complete study, such as runs/quickstart. Merging corrects the verdicts for the number
    of tasks in the whole report, so a verdict can become more careful than it was alone.

    \b
    Examples:
      metagd report runs/quickstart
      metagd report runs/breastmnist runs/retinamnist --out runs/both
    """
    from metagd_optuna.study import report_studies, sentences_of

    if len(run_dirs) > 1 and out is None:
        raise MetaGDError(f"{len(run_dirs)} runs are merged into a folder of their own; name it: --out DIR")
    results, page = report_studies(run_dirs, out)
    for sentence in sentences_of(results):
        print_line(sentence)
    print_place("report: ", page)


@metagd.command()
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


def _reading(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of how data are read, as ``load_task`` takes them."""
    options = (
        click.option("--data-dir", metavar="DIR", type=DATA_FOLDER, help="Looked in for data files before a download."),
        click.option("--target", metavar="COLUMN", help="Of a table: the column of labels."),
        click.option(
            "--patient", metavar="COLUMN", help="Of a table: the column that says whose a case is; of DICOM: the tag."
        ),
        click.option("--split", metavar="COLUMN", help="Of a table: the column of train, val and test."),
        click.option("--positive", metavar="CLASS", help="Of two classes the one that counts as positive."),
        click.option("--kind", type=click.Choice(("images", "table")), help="Of a table: what it holds."),
        click.option("--image-size", metavar="PIXELS", type=int, help="Fits images into a square of that side."),
        click.option("--window", nargs=2, type=float, metavar="CENTRE WIDTH", help="Of DICOM: what is black to white."),
        click.option("--skip-unreadable", is_flag=True, help="Leaves out files that cannot be read."),
        click.option(
            "--leave-out", multiple=True, metavar="COLUMN", help="Of a table: a column not to learn from; repeatable."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@metagd.group(invoke_without_command=True)
@click.pass_context
def tasks(context: click.Context) -> None:
    """List, describe and audit data sets.

    \b
    Examples:
      metagd tasks
      metagd tasks show breast_cancer
      metagd tasks audit my_images.npz
    """
    if context.invoked_subcommand is None:
        context.invoke(list_tasks)


@tasks.command("list")
def list_tasks() -> None:
    """List the tasks of the catalogue.

    Data of your own are a task as well: give the path of a folder of images, of a table of paths and labels, or of an
    .npz file in MedMNIST's layout.

    \b
    Example:
      metagd tasks list
    """
    from metagd_optuna.tasks.catalogue import list_tasks as rows

    columns = ["name", "modality", "classes", "image", "train / val / test", "licence", "source"]
    print_table(columns, [[row[column] for column in columns] for row in rows()])


@tasks.command("show")
@click.argument("task", metavar="NAME|PATH", default="breast_cancer")
@_reading
def show_task(task: str, **how: Any) -> None:
    """Describe a task.

    It is loaded to tell its sizes, class frequencies, complexity and source.

    \b
    Examples:
      metagd tasks show
      metagd tasks show retinamnist --data-dir ~/data
    """
    from metagd_optuna.tasks.complexity import measure_complexity
    from metagd_optuna.tasks.loading import load_task

    loaded = load_task(task, log=print_line, **how)
    shares = ", ".join(
        f"{name} {share:.1%}" for name, share in zip(loaded.classes, loaded.class_frequencies, strict=True)
    )
    complexity = measure_complexity(loaded.train_images, loaded.train_labels)
    print_pairs(
        {
            "task": loaded.name,
            "images" if len(loaded.input_shape) == 3 else "features": " x ".join(map(str, loaded.input_shape)),
            "train / validation / test": " / ".join(map(str, loaded.sizes)),
            "classes": f"{len(loaded.classes)}: {shares}",
            "complexity": f"{complexity:.3f} (knn)",
            **{key: str(value) for key, value in loaded.source.items()},
        }
    )


@tasks.command("audit")
@click.argument("task", metavar="NAME|PATH")
@_reading
@click.option("--names", is_flag=True, help="Calls cases by their files, not by their numbers.")
def audit_task(task: str, *, names: bool, **how: Any) -> None:
    """Look for what spoils a comparison.

    Copies and near-copies, contradictory labels, images that show nothing, columns with gaps or that give the answer
    away, imbalance, shifts between the parts, too few cases; each with the cases and what to do about it. Cases are
    counted from 1: rows of a table, files of a folder in their order, or places in a part of an .npz file.

    \b
    Examples:
      metagd tasks audit breastmnist
      metagd tasks audit scans/ --image-size 64 --names
      metagd tasks audit images.csv --target finding --patient case
    """
    from metagd_optuna.tasks.audit import audit
    from metagd_optuna.tasks.loading import load_task

    loaded = load_task(task, log=print_line, **how)
    called = loaded.reading.names if names and loaded.reading else ()
    for line in [f"- {finding.told(called)}" for finding in audit(loaded).findings] or ["nothing was found"]:
        print_line(line)


@tasks.command("import")
@click.argument("task", metavar="NAME|PATH")
@_reading
@click.option("-o", "--output", metavar="FILE", type=FOLDER, required=True, help="The .npz file to write.")
def import_task(task: str, output: Path, **how: Any) -> None:
    """Write what is read to one .npz file.

    It holds the arrays of the three parts, the names of the classes, how they were read, and a checksum that is checked
    whenever it is read; no names of files or of patients.

    \b
    Example:
      metagd tasks import scans/ --image-size 64 -o scans.npz
    """
    from metagd_optuna.tasks.archive import save_task
    from metagd_optuna.tasks.loading import load_task

    loaded = load_task(task, log=print_line, **how)
    save_task(loaded, output)
    print_line(f"{loaded.name}: {' / '.join(map(str, loaded.sizes))} cases of {', '.join(loaded.classes)}")
    print_place("written: ", output)


@metagd.group(invoke_without_command=True)
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


@metagd.command()
@click.argument("document", type=click.Choice(("study", "policy", "results")))
def schema(document: str) -> None:
    """Print the JSON Schema of a document.

    Editors complete and check study files with it, and other programs read policies and results.

    \b
    Examples:
      metagd schema study > study.schema.json
      metagd schema results
    """
    import json

    from metagd_optuna.study import schema_of

    print_line(json.dumps(schema_of(document), indent=2))


@metagd.command("recommend")
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


@metagd.group(invoke_without_command=True)
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
@click.option("--out", metavar="DIR", type=FOLDER, default=RUNS / "suite", show_default=True, help="Keeps all runs.")
@click.option("--data-dir", metavar="DIR", type=DATA_FOLDER, help="Where data files are looked for before a download.")
@click.option("--workload", "workloads", metavar="NAME", multiple=True, help="Only this one; may be given again.")
@click.option("--policy", "policies", metavar="NAME|PATH", multiple=True, help="A rule to confirm; may be given again.")
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


@metagd.command()
@click.option("--storage", metavar="URL", help=STORAGE_HELP + " Without it, the newest runs/*/optuna.db.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def dashboard(storage: str | None, port: int, host: str) -> None:
    """Serve optuna-dashboard on a storage.

    The study may be finished or running, or the storage brand-new.
    There is no login: whoever reaches the address can change and delete studies. So it listens on this
    machine only, unless --host says otherwise.

    \b
    Examples:
      metagd dashboard
      metagd dashboard --storage runs/quickstart/optuna.db --port 8081
    """
    from metagd_optuna.search.dashboard import dashboard_server
    from metagd_optuna.search.progress import quieten_optuna
    from metagd_optuna.search.storage import artifact_folder, newest_database, open_storage, shown

    quieten_optuna()
    place = storage or newest_database(RUNS)
    opened = open_storage(place, must_exist=False)
    with dashboard_server(opened, host=host, port=port, artifacts=artifact_folder(place)) as server:
        print_line(f"dashboard of {shown(place)}: http://{host}:{server.server_port}/")
        print_line("there is no login: whoever reaches this address can change and delete studies; Ctrl-C stops it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print_line("stopped")


if __name__ == "__main__":
    main()
