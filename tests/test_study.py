"""The application from Python: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import report_studies, schema_of

PUBLISHED = Path(__file__).parents[1] / "docs" / "results"
DOCUMENTS = {"study": "A study file", "policy": "A policy", "results": "The results"}


def keywords(schema: object) -> Iterator[str]:
    """Return the keywords of a JSON Schema, those of its parts included; names of properties are none."""
    if isinstance(schema, list):
        for part in schema:
            yield from keywords(part)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            yield key
            if key in ("properties", "$defs"):
                yield from keywords(list(part.values()))
            elif key not in ("default", "enum", "const", "discriminator"):
                yield from keywords(part)


@pytest.mark.parametrize(("document", "title"), DOCUMENTS.items())
def test_a_schema_says_its_dialect_and_its_document_and_has_no_keyword_of_our_own(document: str, title: str) -> None:
    schema = schema_of(document)
    assert list(schema)[:2] == ["$schema", "title"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == f"{title} of metagd_optuna"
    json.dumps(schema, allow_nan=False)
    numbers = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    sizes = {"minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "minProperties"}
    parts = {"properties", "required", "additionalProperties", "propertyNames", "items", "prefixItems", "$defs", "$ref"}
    values = {"type", "enum", "const", "anyOf", "oneOf", "discriminator"}
    words = {"$schema", "title", "description", "default"}
    assert set(keywords(schema)) <= numbers | sizes | parts | values | words


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("polcy", "there is no schema of 'polcy' (did you mean 'policy'?); name one of study, policy, results"),
        ("nope", "there is no schema of 'nope'; name one of study, policy, results"),
        (["study"], "there is no schema of ['study']; name one of"),
    ],
)
def test_the_schema_of_nothing_that_there_is(document: str, said: str) -> None:
    with pytest.raises(MetaGDError, match=re.escape(said)):
        schema_of(document)


@pytest.mark.parametrize("given", [PUBLISHED / "batch", str(PUBLISHED / "batch"), [PUBLISHED / "batch"]])
def test_one_study_is_reported_by_its_folder_or_in_a_list(given: str | Path | list[Path], tmp_path: Path) -> None:
    results, page = report_studies(given, out=tmp_path)
    assert results.study == "breastmnist_batch"
    assert page == tmp_path / "index.html"
    assert page.is_file()


def test_merging_asks_for_the_argument_of_python() -> None:
    with pytest.raises(MetaGDError, match=r"2 runs are merged into a folder of their own; name it with out=$"):
        report_studies([PUBLISHED / "batch", PUBLISHED / "evidence"])


def test_a_folder_without_results_is_told_how_they_come_about(tmp_path: Path) -> None:
    with pytest.raises(MetaGDError, match=r"no results\.json in .*; name the folder .* run to its end$"):
        report_studies(tmp_path)
