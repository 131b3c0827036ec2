"""What the options of several commands share."""

from __future__ import annotations

from pathlib import Path

import click

RUNS = Path("runs")
FOLDER = click.Path(path_type=Path)
DATA_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
STORAGE_HELP = "SQLite file, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
