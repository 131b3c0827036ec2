from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from altered import altered
from browser import browser

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.records import StudyRecord
from metagd_optuna.report.cautions import cautions
from metagd_optuna.report.content import comparison_table
from metagd_optuna.report.markdown import markdown, markdown_report, overview
from metagd_optuna.report.notes import task_figures, task_note
from metagd_optuna.report.page import page
from metagd_optuna.report.results import Results, build_results, write_report
from metagd_optuna.report.sentences import across_sentence, ratio, short_flags, verdict_sentence

Factory = Callable[..., Any]
NASTY = '<img src=x onerror="alert(1)">&|`</script>'


class Reader(HTMLParser):
    """Collects tags with their attributes, identifiers, and the visible text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.figures: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            if "data-figure" in self.tags[-1][1]:
                self.figures.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)


def without_scripts(html: str) -> str:
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> Results:
    return build_results(study)


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return page(results)


@pytest.fixture(scope="module")
def nasty(task_factory: Factory, study_factory: Factory) -> Results:
    """Results in which every text that a user chooses is an attack."""
    task = task_factory(
        NASTY,
        seeds=2,
        audit={"findings": [NASTY]},
        source={NASTY: NASTY},
        importances={NASTY: 1.0},
        baselines_left_out=(NASTY,),
        complexity_measure=NASTY,
        spent_epochs={NASTY: 3.0},
    )
    candidates = tuple(
        dataclasses.replace(c, name=NASTY, formula=NASTY, latex=NASTY) if c.name == "keras-adam" else c
        for c in task.candidates
    )
    study = study_factory(dataclasses.replace(task, candidates=candidates), name=NASTY)
    return build_results(
        dataclasses.replace(study, device=NASTY, versions={NASTY: NASTY}, settings={"note": NASTY}, timing={NASTY: 1.0})
    )


def test_nothing_is_fetched(html: str) -> None:
    outside_scripts = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    for tag, attributes in read(outside_scripts).tags:
        for name in ("src", "href", "data", "poster", "srcset", "action"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, name, address)
    assert "@import" not in outside_scripts
    assert "url(" not in outside_scripts


def test_every_link_leads_somewhere_and_identifiers_are_unique(html: str) -> None:
    tags = read(html).tags
    identifiers = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} <= {f"#{name}" for name in identifiers}


def test_the_verdict_comes_first(html: str) -> None:
    text = " ".join(" ".join(read(html).text).split())
    assert text.index("times as fast as adam-cosine") < text.index("What to keep in mind")
    assert text.index("▲ faster") < text.index("● no difference shown") < text.index("What to keep in mind")
    assert "95% interval" in text
    assert "pays back after" in text


def test_verdict_then_curves_then_what_to_keep_in_mind(html: str, results: Results) -> None:
    text = " ".join(" ".join(read(html).text).split())
    for part in text.split("Learning curves and learning rates")[1:]:
        order = ("Above: the median validation score", "What to keep in mind", "Speed-ups against", "All candidates")
        places = [part.index(words) for words in order]
        assert places == sorted(places)
    # With several tasks, each begins with its own verdict.
    for name, task in results.tasks.items():
        sentence = verdict_sentence(name, task)
        assert text.count(sentence) == markdown_report(results).count(sentence) == 2


def test_all_parts_are_there(html: str, results: Results) -> None:
    text = " ".join(read(html).text)
    for task in results.tasks.values():
        for row in task.candidates:
            assert row.name in text
            assert row.formula.replace("; ", "\n") in text or row.formula in text
        for finding in task.findings:
            assert finding in text
        for phase in task.spent_by_phase:
            assert phase in text
    for package in results.versions:
        assert package in text
    assert len(read(html).figures) == 2 * 5 + 1


def test_figures_are_strict_json(html: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in a figure")

    for text in read(html).figures:
        figure = json.loads(text, parse_constant=refuse)
        assert figure["data"]


def test_the_share_of_the_target_is_told_as_it_was_set(results: Results) -> None:
    assert "95% of the way from chance level" in markdown_report(results)
    differ = altered(results, "tasks.retinamnist.target_share", 0.985)
    text = markdown_report(differ)
    assert "95% or 98.5%, as each study says, of the way from chance level" in text
    assert text.count("the verdict uses 95%") == text.count("the verdict uses 98.5%") == 1


def test_users_texts_are_shown_and_never_run(nasty: Results) -> None:
    html = page(nasty)
    assert "<img" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    reader = read(html)
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert NASTY in "".join(reader.text)
    for text in reader.figures:
        assert "<" not in text
    for figure in task_figures(nasty, NASTY).values():
        assert "<img" not in str(figure.to_plotly_json())


def test_users_texts_do_not_break_the_markdown(nasty: Results) -> None:
    text = markdown_report(nasty)
    # Outside code a "<" is always escaped; in code it means nothing.
    prose = re.sub(r"(`{3,})toml\n.*?\n\1", "", text, flags=re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose.replace("\\`", ""))
    assert re.search(r"(?<!\\)<", prose) is None
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_all_tasks_together_come_before_any_one_of_them(html: str, results: Results) -> None:
    sentence = across_sentence(results.across)
    text = " ".join(" ".join(read(html).text).split())
    assert text.index(sentence) < text.index("▲ faster")
    assert text.index("describes the tasks of this report and is no test") < text.index("Learning curves and")
    markdown = markdown_report(results)
    assert markdown.index(sentence) < markdown.index("**faster**")
    assert markdown.index("## All tasks together") < markdown.index("## breast_cancer")
    assert "| method | 1 | 1.25 | 1.5 | 2 | 5 |" in markdown


def test_one_task_has_nothing_across(task_factory: Factory, study_factory: Factory) -> None:
    alone = build_results(study_factory(task_factory(seeds=2)))
    assert alone.across is None
    for written in (without_scripts(page(alone)), markdown_report(alone)):
        assert "All tasks together" not in written
        assert "Over all" not in written


def test_an_untuned_candidate_that_is_faster_is_flagged(task_factory: Factory, study_factory: Factory) -> None:
    study = study_factory(task_factory(rises={"keras-adam": 0.5, "article": 0.6}))
    task = build_results(study).tasks["breast_cancer"]
    speed = {row.name: row.versus_best_baseline.speedup for row in task.candidates}
    assert task.verdict.label == "faster"
    assert speed["keras-adam"] > speed["article"] > speed["meta-policy"] > 1
    assert short_flags(task)[0] == "untuned but faster than the winner: keras-adam, article"
    factor = ratio(speed["keras-adam"] / speed["meta-policy"])
    first, second = cautions(task)[:2]
    assert first.startswith(f"Faster without any tuning: keras-adam is {factor} times as fast as meta-policy")
    assert f"({ratio(speed['keras-adam'])} times as fast as adam-cosine)" in first
    assert "article is" in second
    html = without_scripts(page(build_results(study)))
    assert "untuned but faster than the winner: keras-adam, article" in html
    assert first in html


def test_batches_that_were_chosen_are_named(results: Results) -> None:
    task = results.tasks["breast_cancer"]
    assert not any("batch" in note for note in cautions(task))
    for name, size in (("meta-policy", 8), ("adam-cosine", 16)):
        task = altered(task, f"candidates.{name}.settings", {"batch_size": size})
    [note] = [note for note in cautions(task) if "batch" in note]
    assert note.startswith("Methods chose their batch (meta-policy 8, adam-cosine 16), and the untuned have that of ")
    assert "winner and best baseline may be the batch" in note
    task = altered(task, "candidates.adam-cosine.settings.batch_size", 8)
    assert not any("winner and best baseline may be the batch" in note for note in cautions(task))


def test_nothing_is_flagged_where_no_untuned_candidate_is_faster(results: Results) -> None:
    for task in results.tasks.values():
        assert not any("untuned" in flag for flag in short_flags(task))
        assert not any("without any tuning" in note for note in cautions(task))
    # Nobody is faster where nobody reached the target.
    task = altered(results.tasks["breast_cancer"], "candidates.*.versus_best_baseline.speedup", 1.0)
    assert not any("without any tuning" in note for note in cautions(task))


def test_a_missing_candidate_is_named_with_a_suggestion(results: Results) -> None:
    with pytest.raises(MetaGDError, match=r"no candidate 'adam-cosin', only .*did you mean 'adam-cosine'\?"):
        results.tasks["breast_cancer"].candidate("adam-cosin")


def test_one_task_needs_no_list_of_verdicts(task_factory: Factory, study_factory: Factory) -> None:
    html = page(build_results(study_factory(task_factory(seeds=2))))
    assert 'href="#verdicts"' not in html


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": 1},
        {"target": 0.999},
        {"search_target": 0.5},
        {"search_target": None},
        {"importances": {}, "trials": {}},
        {"baselines_left_out": (), "audit": {}, "source": {}},
        {"candidates": ("meta-policy", "adam-cosine")},
        {"tops": {"adam-cosine": 0.4}},
    ],
    ids=str,
)
def test_degenerate_studies_have_a_page_and_a_text(
    fields: dict[str, Any], task_factory: Factory, study_factory: Factory
) -> None:
    results = build_results(study_factory(task_factory(**{"seeds": 3, **fields})))
    html, text = page(results), markdown_report(results)
    for written in (without_scripts(html), text):
        assert not re.search(r"\b(nan|inf|None|null)\b", written)


def test_what_the_search_overfitted_is_shown_where_a_search_chose(
    results: Results, html: str, task_factory: Factory, study_factory: Factory
) -> None:
    head = "How much the search overfitted its seeds"
    assert html.count(f"<h3>{head}</h3>") == markdown_report(results).count(f"### {head}") == 2
    assert "| `meta-policy` | 1.20 | 3 | 1.30 | 1.70 | " in markdown_report(results)
    # In the universal scope it chose on other tasks.
    elsewhere = build_results(study_factory(task_factory(scope="universal", selections={})))
    assert head not in page(elsewhere)
    assert head not in markdown_report(elsewhere)


def test_markdown_says_which_parameters_mattered(
    results: Results, task_factory: Factory, study_factory: Factory
) -> None:
    table = """| parameter | share (95% interval) |
| --- | --- |
| `g.power.lr0.adam` | 0.61 (0.40 to 0.78) |
| `g.power.a` | 0.22 (0.05 to 0.41) |
| `f.mix.w` | 0.12 |
| `half_life` | 0.05 |"""
    assert table in markdown_report(results)
    unknown = build_results(study_factory(task_factory(importances={}, importance_ci95={})))
    assert "Which parameters mattered" not in markdown_report(unknown)


def test_markdown_says_verdict_price_and_reservations(results: Results) -> None:
    text = markdown_report(results)
    assert text.startswith("# synthetic\n\nOver all 2 tasks, the searched policies converge 1.")
    for part in (
        "**faster**: On breast_cancer, meta-policy converges 1.46 times as fast as",
        "**no difference shown**: On retinamnist",
        "pays back after",
        "would be shown with 80% power",
        "the complexity c is constant",
        "Steered by the validation data",
        "Baselines that were not run, and might have been faster: adam-plateau, greedy-lr",
        "diverged",
        "Feedback did not matter",
        "metagd run synthetic.toml",
        'tasks = ["breast_cancer", "retinamnist"]',
    ):
        assert part in text


def test_one_table_holds_every_verdict_and_one_the_articles_rules(results: Results) -> None:
    verdicts, beside = overview(results), markdown([comparison_table(results)]).rstrip()
    assert "| 1.46 (1.31 to 1.64); p = 0.004 | **faster** | feedback mattered |" in verdicts
    assert "speed-up of `article` | speed-up of `article-as-printed` |" in beside
    for table in (verdicts, beside):
        head, _, *rows = table.splitlines()
        assert [row.split(" | ")[0] for row in rows] == ["| breast_cancer", "| retinamnist"]
        assert all(row.count(" | ") == head.count(" | ") == 4 for row in rows)
    assert f"{verdicts}\n\n{beside}" in markdown_report(results)


def test_an_article_that_did_not_run_is_said(task_factory: Factory, study_factory: Factory) -> None:
    names = ("meta-policy", "adam-constant", "keras-adam", "article")
    few = build_results(study_factory(task_factory(seeds=3, candidates=names, best_baseline="adam-constant")))
    assert markdown([comparison_table(few)]).count("not run") == 1


def test_an_optimizer_that_no_baseline_has_is_said(task_factory: Factory, study_factory: Factory) -> None:
    names = ("meta-policy", "sgd-one-cycle", "keras-adam")
    alone = build_results(study_factory(task_factory(seeds=3, candidates=names, best_baseline="sgd-one-cycle")))
    said = "The winner uses adam, and no tuned baseline of this study does"
    assert said in markdown_report(alone)
    assert said not in markdown_report(build_results(study_factory(task_factory(seeds=3))))


def test_a_universal_report_says_where_its_rules_were_chosen(task_factory: Factory, study_factory: Factory) -> None:
    alone = study_factory(task_factory(scope="universal"))
    results = build_results(alone)
    shown = without_scripts(page(results))
    for written in (shown, markdown_report(results)):
        assert "were chosen on the other tasks" in written
        assert "only a search across several tasks could" not in written
    assert "chosen on other tasks" in shown


def test_resolution_is_flagged(task_factory: Factory, study_factory: Factory) -> None:
    quick = build_results(study_factory(task_factory(seeds=3, target=0.55)))
    assert quick.tasks["breast_cancer"].resolution_limited
    assert "Resolution-limited" in markdown_report(quick)
    assert "resolution-limited" in without_scripts(page(quick))


def test_note_for_a_dashboard(results: Results) -> None:
    note = task_note(results, "breast_cancer")
    assert note.startswith("**faster**")
    assert "```text\nd = 0.4 c + 0.6 (1 - p)\nlr = 0.004\n```" in note
    assert "$" not in note  # optuna-dashboard sets no mathematics


def test_notes_of_an_unknown_task(results: Results) -> None:
    with pytest.raises(Exception, match=r"no task 'retinamnits'.*did you mean 'retinamnist'\?"):
        task_note(results, "retinamnits")


@pytest.mark.slow
def test_a_browser_draws_every_figure_without_an_error(results: Results, tmp_path: Path) -> None:
    index = write_report(results, tmp_path / "report")
    command = [
        browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=4000",
        "--window-size=1280,2000",
        "--dump-dom",
        index.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    body = shown.stdout.split("<main>")[1]
    assert '<div id="failure" hidden' in body
    drawn = re.findall(r'<div id="(?:task-\d|across)-[a-z-]+" class="js-plotly-plot">', body)
    assert len(drawn) == 2 * 5 + 1
    assert body.count('class="main-svg"') >= 2 * 5 + 1
