"""Recurrence of breast cancer within two years, from the table of a trial that the package lifelines carries."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.readers.feature_table import read_feature_table
from metagd_optuna.tasks.readers.frame import read_frame
from metagd_optuna.tasks.readers.reader import TaskData

PACKAGE, TABLE = "lifelines", "lifelines/datasets/gbsg2.csv"
CLASSES = ("no recurrence", "recurrence")
TIME, EVENT, DAYS = "time", "cens", 730


def read_gbsg2() -> TaskData:
    """Return the women of whom it is known whether cancer came back within 730 days, as rows of features.

    Recurrence (or death) by then is 1, none by then 0; who was followed for a shorter time without either is left out,
    because nobody knows. What is learnt from are the eight columns that were known at the beginning.

    Raises:
        MetaGDError: if lifelines is not installed.
    """
    try:
        file = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(TABLE)))
    except importlib.metadata.PackageNotFoundError:
        raise MetaGDError(
            "the table of gbsg2 comes with the package lifelines, which is not installed: pip install "
            "'metagd-optuna[prognosis]', or, because only the table is needed, pip install --no-deps lifelines"
        ) from None
    frame = read_frame(file)
    days, event = frame[TIME].astype(float), frame[EVENT] == "1"
    frame = frame[(days > DAYS) | event].reset_index(drop=True)
    came_back = (frame[TIME].astype(float) <= DAYS) & (frame[EVENT] == "1")
    data = read_feature_table(
        frame,
        [CLASSES[came] for came in came_back],
        "gbsg2",
        features=[name for name in frame.columns if name not in (TIME, EVENT)],
        patients=None,
        parts=None,
        positive=CLASSES[1],
    )
    assert data.classes == CLASSES
    return data
