"""The searches that docs/results keeps: this version takes them, or whoever repeats a result would search again."""

import json
import shutil
from pathlib import Path

import optuna
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tuning.runner import versions
from metagd_optuna.tuning.snapshots import SNAPSHOTS, Snapshots, read_snapshot
from metagd_optuna.tuning.store import Identity, StudyStore
from metagd_optuna.tuning.study_file import load_study

RESULTS = Path(__file__).parents[2] / "docs" / "results"
STORED = sorted(RESULTS.glob(f"*/{SNAPSHOTS}/*.json"))
# Their designs were over forms that are one now, so they show what was searched, and a repetition searches anew.
OTHER_DESIGN = ("universal", "universal_six")


@pytest.fixture
def check(tmp_path):
    """Checks a file as a study does that it belongs to and that has nothing in its storage yet."""

    def check(file, metadata, folder=None):
        scope = file.parents[1]
        names = (file.stem, scope.name, f"{file.stem}_{scope.name}")
        study = next(path for path in (scope / f"{name}.toml" for name in names) if path.is_file())
        shutil.copy(study, tmp_path)
        for name in ("bccd_cells3", "chula_rbc12", "mednist6"):
            (tmp_path / f"{name}.npz").touch()  # a study file's paths have to be there; nothing is read
        spec = load_study(tmp_path / study.name)
        identity = Identity(spec.name, spec.to_dict(), versions(), "any", tuple(spec.task_locations))
        store = StudyStore(optuna.storages.InMemoryStorage(), identity).task(file.stem)
        Snapshots(folder or file.parent, spec, lambda line: None).check(store, metadata)

    return check


@pytest.mark.parametrize("file", STORED, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_a_stored_snapshot_is_taken(check, file):
    metadata = read_snapshot(file).metadata
    if file.parents[1].name in OTHER_DESIGN:
        with pytest.raises(MetaGDError, match="are not those that this version's design has"):
            check(file, metadata)
    else:
        check(file, metadata)
    with pytest.raises(MetaGDError, match="of other data or another network"):
        check(file, metadata.model_copy(update={"fingerprint": "0"}))


def test_there_are_some():
    assert len(STORED) >= 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0][4].update({"half_life": 99.0}),
            r"meta-policy: .*99.0 of the parameter 'half_life' is out of the range",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0][4].update({"half_life": 10**400}),
            "meta-policy: int too large to convert to float",
        ),
        *(
            (
                lambda snapshot, wrong=wrong: [
                    row[4].update({"candidate": wrong})
                    for row in snapshot["trials"]["calibrate"]
                    if row[4]["candidate"] == snapshot["trials"]["calibrate"][-1][4]["candidate"]
                ],
                f"calibrate: a run has the candidate {said} and the seed",
            )
            for wrong, said in ((5, "5"), (1.5, "1.5"), (10**400, "a whole number of about 400 digits"))
        ),
        (
            lambda snapshot: [row[4].pop("candidate") for row in snapshot["trials"]["calibrate"]],
            "calibrate: a run has the candidate None",
        ),
        (
            lambda snapshot: snapshot["trials"]["calibrate"][0][4].update(seed=True),
            "seed.str is true; allowed is text or a whole number",
        ),
        (
            lambda snapshot: snapshot["trials"]["calibrate"][0].__setitem__(2, 10**400),
            r"trials.calibrate\[0\]\[2\] is a whole number of about 400 digits; allowed is",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].__setitem__(3, None),
            r"trials.meta-policy\[0\]\[3\] is null; allowed is a number of at least 0",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].__setitem__(2, "8 steps"),
            r"trials.meta-policy\[0\]\[2\] is \"8 steps\"; allowed is a whole number",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].__setitem__(1, float("nan")),
            r"trials.meta-policy\[0\]\[1\] is NaN; allowed is a number of at least 0",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].__setitem__(1, 10**400),
            r"trials.meta-policy\[0\]\[1\] is a whole number of about 400 digits; allowed is",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].__setitem__(0, 1),
            r"trials.meta-policy\[0\]\[0\] is 1; allowed is true or false",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].pop(),
            r"the key 'trials.meta-policy\[0\]\[4\]' is missing",
        ),
        (
            lambda snapshot: [row.__setitem__(0, True) for row in snapshot["trials"]["meta-policy"]],
            "has 64 trials, 0 of them complete; a search has 64, at least 4 of them complete",
        ),
        (lambda snapshot: snapshot["trials"].update(calibrate=[]), "runs of the calibration are missing"),
        (lambda snapshot: snapshot["trials"].pop("calibrate"), "runs of the calibration are missing"),
        (lambda snapshot: snapshot["trials"]["calibrate"].pop(), "runs of the calibration are missing"),
        (
            lambda snapshot: snapshot.update(search_target=2.0),
            r"search_target 2 is not between the chance level \(0.5\) and 1",
        ),
        (lambda snapshot: snapshot.update(search_target=float("nan")), "search_target is NaN; allowed is a number"),
        (lambda snapshot: snapshot.update(schema=1), "schema is 1; allowed is 2"),
        (
            lambda snapshot: snapshot["metadata"].pop("chance"),
            "the key 'metadata.chance' is missing; it holds a number",
        ),
    ],
)
def test_numbers_that_no_search_has_are_refused_before_they_are_in_the_storage(check, tmp_path, change, message):
    """A target of 2 could never be reached, and a study would end all the same."""
    file = RESULTS / "evidence" / SNAPSHOTS / "bccd_cells3.json"
    metadata = read_snapshot(file).metadata
    snapshot = json.loads(file.read_text(encoding="utf-8"))
    change(snapshot)
    (tmp_path / SNAPSHOTS).mkdir()
    (tmp_path / SNAPSHOTS / file.name).write_text(json.dumps(snapshot), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message) as refused:
        check(file, metadata, tmp_path / SNAPSHOTS)
    assert str(refused.value).startswith(f"{tmp_path / SNAPSHOTS / file.name}: ")
    assert str(refused.value).endswith("delete it to train it anew")


def test_text_that_nests_too_deeply_is_refused(check, tmp_path):
    file = RESULTS / "evidence" / SNAPSHOTS / "bccd_cells3.json"
    (tmp_path / SNAPSHOTS).mkdir()
    (tmp_path / SNAPSHOTS / file.name).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(MetaGDError, match="no snapshot of a study, or a damaged one"):
        check(file, read_snapshot(file).metadata, tmp_path / SNAPSHOTS)
