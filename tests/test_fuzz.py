"""Every fuzz target works and finds nothing in a few inputs; ``make fuzz`` runs many."""

import importlib
import warnings
from pathlib import Path

import pytest
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError, MetaGDWarning

FOLDER = Path(__file__).parent / "fuzz"
INPUTS = {"results": 8, "snapshot": 8, "keras": 8, "storage": 12, "parquet": 24}
TARGETS = (
    "policy",
    "study",
    "results",
    "snapshot",
    "runs",
    "npz",
    "csv",
    "parquet",
    "images",
    "dicom",
    "cifar10",
    "keras",
)


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("METAGD_IMAGE_CACHE_GIB", "0")
    return importlib.import_module


def nothing_found(module, name, folder):
    inputs = INPUTS.get(name, 36)
    found = module("findings").fuzz(module("targets").TARGETS[name], inputs, 0, folder)
    assert {what: said for what, (_, _, said) in found.found.items()} == {}
    assert found.inputs == inputs
    assert found.taken < inputs


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_no_mutated_document_raises_anything_else(module, name, tmp_path):
    nothing_found(module, name, tmp_path)


def test_no_mutated_storage_raises_anything_else(module, finished_study, tmp_path, monkeypatch):
    monkeypatch.setenv("METAGD_FUZZ_STORAGE", str(finished_study.out / "optuna.db"))
    nothing_found(module, "storage", tmp_path)


def test_a_storage_that_cannot_be_opened_leaves_the_next_input_alone(module, finished_study, tmp_path, monkeypatch):
    monkeypatch.setenv("METAGD_FUZZ_STORAGE", str(finished_study.out / "optuna.db"))
    _, read = module("targets").TARGETS["storage"](tmp_path)
    whole = (tmp_path / "valid" / "valid.db").read_bytes()
    version = 3 * 4096  # of the tables: it is read while the storage is opened
    with pytest.raises(MetaGDError, match=r"the storage cannot be used: .*damaged"):
        read(whole[:version] + b"\xff" * 4096 + whole[version + 4096 :])
    read([])


def test_every_target_is_tried_here(module):
    assert {*TARGETS, "storage"} == {*module("targets").TARGETS}


def raising(error):
    def read(given):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (raising(ValueError("x")), ["ValueError at ?"]),
        (raising(RecursionError()), ["RecursionError at ?"]),
        (lambda given: warnings.warn("x", UserWarning, stacklevel=1), ["UserWarning at ?"]),
        (raising(MetaGDError("")), ["an error of 0 characters: ''"]),
        (raising(MetaGDError("x" * 10_000)), []),
        (raising(MetaGDError("no such task")), []),
        (lambda given: warnings.warn("x", MetaGDWarning, stacklevel=1), []),
        (lambda given: None, []),
    ],
)
def test_what_counts_as_a_finding(module, read, found):
    findings = module("findings").Findings(read)
    for given in (b"long", b"x", b"longer"):
        findings.try_one(given)
    assert list(findings.found) == found
    assert all(given == b"x" for _, given, _ in findings.found.values())
    assert findings.inputs == 3


def test_a_target_that_takes_nothing_more_is_stuck(module, tmp_path):
    """As one was whose next inputs were read through a connection to an earlier file."""
    findings = module("findings")
    tried = []

    def read(given):
        tried.append(given)
        if len(tried) > findings.AT_ONCE:
            raise MetaGDError("no such task")

    found = findings.fuzz(lambda folder: (st.integers(), read), 2 * findings.AT_ONCE, 0, tmp_path)
    assert found.taken == findings.AT_ONCE
    assert list(found.found) == ["stuck"]


def test_the_same_seed_gives_the_same_inputs(module, tmp_path):
    drawn = []
    for seed in (1, 1, 2):
        seen = []

        def target(folder, seen=seen):
            return module("mutations").trees([{"a": [1, 2], "b": {"c": "d"}}]), seen.append

        module("findings").fuzz(target, 50, seed, tmp_path)
        drawn.append(repr(seen))
    assert drawn[0] == drawn[1] != drawn[2]
