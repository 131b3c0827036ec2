"""What the options of several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

RUNS = Path("runs")
FOLDER = click.Path(path_type=Path)
DATA_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
STORAGE_HELP = "SQLite file, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."


def reading(command: Callable[..., None]) -> Callable[..., None]:
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
