"""Commands on a study: run it, watch it, report on it again; and the schemas of its documents."""

from __future__ import annotations

from pathlib import Path

import click

from metagd_optuna.cli.completion import run_folders
from metagd_optuna.cli.options import DATA_FOLDER, FOLDER, RUNS, STORAGE_HELP
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import in_python
from metagd_optuna.terminal import console, print_error, print_line, print_place


@click.command()
@click.argument("study", metavar="STUDY.toml", type=FOLDER)
@click.option("--storage", metavar="URL", help=STORAGE_HELP + " Without it, optuna.db in the study's folder.")
@click.option("--out", metavar="DIR", type=FOLDER, help="The study's own folder. Without it, runs/<study>.")
@click.option("--data-dir", metavar="DIR", type=DATA_FOLDER, help="Where data files are looked for before a download.")
@click.option(
    "--workers", metavar="N", type=int, default=0, help="Processes that train, a GPU each; without it, this one."
)
@click.option(
    "--cluster", metavar="ADDRESS|FILE", help="A running Dask cluster that trains: tcp://HOST:8786, a scheduler file."
)
@click.option("--allow-code", is_flag=True, help="Runs the function that the study file names as its network.")
def run(
    study: Path,
    storage: str | None,
    out: Path | None,
    data_dir: Path | None,
    workers: int,
    cluster: str | None,
    *,
    allow_code: bool,
) -> None:
    """Run a study, or go on where it was stopped.

    Each task is audited, calibrated, searched (every baseline and the meta-policy with the same number of
    trials), confirmed on fresh seeds and reported. A complete study is reported again without training.

    \b
    Examples:
      metagd run studies/quickstart.toml
      metagd run my_study.toml --data-dir ~/data --out /scratch/my_study
      metagd run my_study.toml --storage postgresql://ann@db.example/metagd
      metagd run my_study.toml --workers 4
      metagd run my_study.toml --cluster tcp://gpu1.example:8786
    """
    from metagd_optuna.tuning.study_file import load_study

    spec = load_study(study)  # before anything that takes seconds to load
    from metagd_optuna.study import Interrupted, run_study
    from metagd_optuna.tuning.progress import Progress
    from metagd_optuna.tuning.stopping import leave, stoppable

    try:
        with stoppable() as stop:
            found = run_study(
                spec,
                out=out,
                storage=storage,
                data_dir=data_dir,
                progress=Progress(console()),
                allow_code=allow_code,
                workers=workers,
                cluster=cluster,
            )
    except Interrupted as error:
        print_error(str(error), ())
        leave(stop.exit_code)
    for sentence in (*found.sentences, *found.advice()):
        print_line(f"\n{sentence}")
    print_line("")
    # The others of a universal study are what the folds selected, which nobody trains with.
    policies = {"all tasks": found.policies["universal"]} if spec.universal else found.policies
    for task, policy in policies.items():
        print_line(f"the rule to use on {task}, in your own training: load_policy({in_python(policy)})")
    print_place("the study is complete; report: ", found.report)


@click.command()
@click.argument("run_dirs", metavar="RUN_DIR...", type=FOLDER, nargs=-1, required=True, shell_complete=run_folders)
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


@click.command()
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
    from metagd_optuna.tuning.dashboard import dashboard_server
    from metagd_optuna.tuning.progress import quieten_optuna
    from metagd_optuna.tuning.storage import artifact_folder, newest_database, open_storage, shown

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


@click.command()
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
