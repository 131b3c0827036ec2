"""What README.md shows is run; what it, the glossary and the page of results say stays short and in standard words."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from small_study import store_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
RESULTS = ROOT / "docs" / "results" / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
COLUMNS = ("task", "speed-up of the searched policy (95% interval; p, Holm)", "verdict")
OLD_WORDS = (
    "adopt",
    "class shares?",
    "column",
    "contender",
    "entrant",
    "fold",
    "guessing",
    "headline",
    "ladder",
    "league",
    "rung",
    "t_search",
    "tick",
    "workshop",
)


def test_five_lines_that_import_a_policy(finished_study, tmp_path, monkeypatch):
    from metagd_optuna.policy import OPTIMIZERS
    from metagd_optuna.tuning.record import winning_policy

    [block] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    [path] = re.findall(r'load_policy\("([^"]+)"\)', block)
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True)
    policy = winning_policy(store_of(finished_study.out), "breast_cancer")
    policy.save(path)

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=40)
    x = rng.normal(size=(40, 12)) + y[:, None]
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(2)])
    optimizer = OPTIMIZERS[policy.optimizer].build(1e-3)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    names = {"x": x, "y": y, "model": model}
    exec(compile(block.replace("epochs=10", "epochs=10, verbose=0"), "README.md", "exec"), names)
    assert len(names["callback"].rates) == 10 * 2
    low, high = OPTIMIZERS[policy.optimizer].bounds
    assert all(low <= rate <= high for rate in names["callback"].rates)
    assert float(model.optimizer.learning_rate) == np.float32(names["callback"].rates[-1])


def test_both_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"^    make (\w+)", README.read_text(encoding="utf-8"), re.M):
        assert re.search(rf"^{command}:", makefile, re.M)


def test_readme_is_read_in_three_minutes():
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 600, "README.md has at most 600 words, code and tables included"
    for page in (README, RESULTS):
        rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        assert rows
        assert max(row.replace("\\|", "").count("|") - 1 for row in rows) <= 5, f"{page}: at most 5 columns"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_place_that_is_linked_exists(page):
    """Relative links of the pages: the file is there, and so is the heading behind a ``#``."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", text):
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}; there are {sorted(anchors(target))}"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page: words in lower case, joined by hyphens.

    Args:
        page: a Markdown file.
    """
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }


@pytest.mark.parametrize("page", [README, GLOSSARY, RESULTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_the_standard_words(page):
    """The words that the project once had of its own stand in no prose; identifiers in code are not prose."""
    text = re.sub(r"```.*?```|`[^`\n]*`|^ {4}[^\n]*$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    prose = re.sub(r"formerly\s[^;)]*", "", text)
    assert re.findall(rf"\b(?:{'|'.join(OLD_WORDS)})s?\b", prose, re.I) == []


def test_glossary_is_alphabetical():
    terms = re.findall(r"^\*\*(.+?)\*\*", GLOSSARY.read_text(encoding="utf-8"), re.M)
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.lower)


def test_table_of_results_is_written_from_them():
    """The README's table is that of the results in docs/results, judged by this version, without some columns."""
    from metagd_optuna.report.markdown import overview
    from metagd_optuna.report.results import merge_results, read_results

    text = README.read_text(encoding="utf-8")
    [(folder, table)] = re.findall(
        r"<!-- table of (docs/results/\S+) -->\n\n(.*?)\n\n<!-- end of table -->", text, re.S
    )
    written = some_columns(overview(merge_results([read_results(ROOT / folder)])), COLUMNS)
    assert table == written, f"README.md has to contain this table:\n\n{written}"


@pytest.mark.parametrize("file", sorted(RESULTS.parent.glob("*/results.json")), ids=lambda file: file.parent.name)
def test_summary_of_results_has_the_figures_of_every_study(file):
    results = json.loads(file.read_text(encoding="utf-8"))
    epochs = sum(task["spent_epochs"] for task in results["tasks"].values())
    phases = [phase for run in results["timing"].values() for phase in run["seconds"].values()]
    overall = results.get("across") or next(iter(results["tasks"].values()))["verdict"]
    low, high = overall["ci95"]
    page = RESULTS.read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| \[{file.parent.name}\]\({file.parent.name}/README\.md\) \|.*$", page, re.M)
    assert f"{sum(sum(phase.values()) for phase in phases) / 60:.0f} minutes, {epochs:,.0f} epochs" in row
    assert f"{overall['speedup']:.2f} ({low:.2f} to {high:.2f})" in row


def some_columns(table: str, wanted: tuple[str, ...]) -> str:
    """Return a Markdown table with some of its columns.

    Args:
        table: one row per line, the heads first.
        wanted: the heads of those to keep, in their new order.
    """
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines())
    places = [heads.index(head) for head in wanted]
    kept = ["| " + " | ".join(row[place] for place in places) + " |" for row in [heads, *rows]]
    return "\n".join([kept[0], "|---" * len(wanted) + "|", *kept[1:]])
