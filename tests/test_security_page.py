"""What docs/SECURITY.md names is there: tests, fuzz targets, and the settings of Dask's TLS."""

import importlib.util
import re
from pathlib import Path

import yaml

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "SECURITY.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_is_there():
    named = {*re.findall(r"`(test_\w+)`", PAGE)}
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in sources} == set()
    files = {*re.findall(r"`(tests/[\w/]+\.py)`", PAGE)}
    assert files
    assert {name for name in files if not (TESTS.parent / name).is_file()} == set()


def test_the_settings_of_tls_are_those_that_dask_has():
    [block] = re.findall(r"\n\n((?:      .*\n)+)", PAGE)
    wanted = yaml.safe_load(block)
    place = Path(importlib.util.find_spec("distributed").origin).with_name("distributed.yaml")
    known = yaml.safe_load(place.read_text(encoding="utf-8"))

    def absent(given, held, way=""):
        if not isinstance(given, dict):
            return []
        found = [f"{way}.{key}" for key in given if key not in held]
        return found + [each for key in given.keys() & held.keys() for each in absent(given[key], held[key], key)]

    assert absent(wanted, known) == []
    assert wanted["distributed"]["comm"]["require-encryption"] is True
