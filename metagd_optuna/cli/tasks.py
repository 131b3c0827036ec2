"""Commands on data sets: list, describe, audit and import them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metagd_optuna.cli.completion import task_names
from metagd_optuna.cli.options import FOLDER, reading
from metagd_optuna.terminal import print_line, print_pairs, print_place, print_table


@click.group(invoke_without_command=True)
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
@click.argument("task", metavar="NAME|PATH", shell_complete=task_names, default="breast_cancer")
@reading
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
@click.argument("task", metavar="NAME|PATH", shell_complete=task_names)
@reading
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
@click.argument("task", metavar="NAME|PATH", shell_complete=task_names)
@reading
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
