"""Every row of the tables in docs/own-training.md is a test that exists."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "own-training.md").read_text(encoding="utf-8")


def test_every_row_names_a_test_that_exists():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| your training")]
    named = [re.fullmatch(r"\| .* \| `(test_\w+)` \|", row) for row in rows]
    assert len(rows) > 30
    assert [row for row, match in zip(rows, named, strict=True) if match is None] == []
    files = [*(TESTS / "own_training").glob("test_*.py"), *(TESTS / "training").glob("test_*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    defined = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {match.group(1) for match in named if match} <= defined
