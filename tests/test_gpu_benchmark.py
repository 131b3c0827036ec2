"""What the GPU benchmark counts as right, and what it exports; it is run by hand, where there is a GPU."""

import importlib
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def gpu_cases(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu_cases")


@pytest.fixture
def gpu_export(gpu_cases):
    return importlib.import_module("gpu_export")


@pytest.fixture
def run(gpu_cases):
    """Start, what eight members are expected to come to, and a run of twelve that came to just that."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=50)
    expected = {"loss": rng.uniform(0.3, 0.7, size=8), "weights": start + 0.01 * rng.normal(size=(8, 50))}
    members = np.arange(12) % 8
    return start, expected, expected["loss"][members], expected["weights"][members].copy()


def test_every_size_layout_and_type_is_a_case_of_its_own(gpu_cases):
    cases = list(gpu_cases.cases(gpu_cases.POPULATIONS, gpu_cases.BATCHES))
    assert len({case.name for case in cases}) == len(cases) == 4 * 2 * 2 * 2
    assert {case.population for case in cases} == {1, 8, 64, 256}


def test_members_beyond_the_eighth_have_the_rates_of_the_first(gpu_cases):
    rates = gpu_cases.rates_of(12, checked=False)
    assert rates.shape == (gpu_cases.STEPS, 12)
    assert np.all(rates > 0)
    np.testing.assert_array_equal(rates[:, 8:], rates[:, :4])
    checked = gpu_cases.rates_of(12, checked=True)
    np.testing.assert_array_equal(checked[: gpu_cases.CHECKED_STEPS], rates[: gpu_cases.CHECKED_STEPS])
    assert not checked[gpu_cases.CHECKED_STEPS :].any()


def test_what_is_expected_is_right(gpu_cases, run):
    start, expected, loss, weights = run
    found = gpu_cases.departure(loss, weights, start, expected, "float32")
    assert found == {"finite": True, "loss_off": 0.0, "weights_off": 0.0, "right": True}


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_one_member_that_is_wrong_is_found(gpu_cases, run, compute):
    start, expected, loss, weights = run
    worse = loss + 0.05 * (np.arange(12) == 9)
    assert not gpu_cases.departure(worse, weights, start, expected, compute)["right"]
    weights[9] = weights[8]
    assert not gpu_cases.departure(loss, weights, start, expected, compute)["right"]
    weights[9] = np.nan
    found = gpu_cases.departure(loss, weights, start, expected, compute)
    assert (found["finite"], found["right"]) == (False, False)


def test_export_takes_its_data_as_inputs(gpu_cases, gpu_export):
    start, data = gpu_export.Start.of(gpu_export.model()), gpu_cases.data()
    program = gpu_export.serialized(gpu_cases.Case(2, "patches", "bfloat16", 32), start, data)
    assert 10_000 < len(program) < data["images"].nbytes / 2
    assert b"custom-call" not in program
