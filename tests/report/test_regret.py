"""What it cost to choose settings on other tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from metagd_optuna.records import Regret
from metagd_optuna.report.blocks import Code
from metagd_optuna.report.markdown import markdown_report
from metagd_optuna.report.page import page
from metagd_optuna.report.regret import mean_regrets, regret_sentences, regret_table, regrets
from metagd_optuna.report.results import Results, build_results

Factory = Callable[..., Any]
CHOSEN = Regret(trial=3, chosen=6.0, stopped=False, best_trial=1, best=4.0)
STOPPED = Regret(trial=3, chosen=9.0, stopped=True, best_trial=0, best=4.5)


@pytest.fixture
def results(task_factory: Factory, study_factory: Factory) -> dict[str, Any]:
    """Two tasks: the policy's regrets are 1.5 and 1, the baseline's 1.5 and at least 2; one method ran on one task."""
    known = {"scope": "universal", "selections": {}, "seeds": 3}
    best = Regret(trial=1, chosen=4.0, stopped=False, best_trial=1, best=4.0)
    one = task_factory("one", regrets={"meta-policy": CHOSEN, "adam-constant": CHOSEN, "alone": CHOSEN}, **known)
    two = task_factory("two", regrets={"meta-policy": best, "adam-constant": STOPPED}, **known)
    return build_results(study_factory(one, two))


def test_every_method_has_what_is_known(task_factory: Factory) -> None:
    found = regrets(task_factory(regrets={"meta-policy": STOPPED, "adam-constant": CHOSEN}))
    assert [row.model_dump() for row in found] == [
        {"method": "meta-policy", **asdict(STOPPED)},
        {"method": "adam-constant", **asdict(CHOSEN)},
    ]


def test_rows_of_a_task(results: Results) -> None:
    table = regret_table(results.tasks["two"])
    assert all(len(row) == len(table.heads) for row in table.rows)
    assert table.rows == [
        (Code("meta-policy"), "1", "4.00", "1", "4.00", "1.00"),
        (Code("adam-constant"), "3", "9.00 or more", "0", "4.50", "2.00 or more"),
    ]


def test_the_mean_is_geometric_over_the_methods_that_ran_everywhere(results: Results) -> None:
    means = results.across.regrets
    assert list(means) == ["meta-policy", "adam-constant"]
    assert (means["meta-policy"].factor, means["meta-policy"].stopped) == (pytest.approx(1.5**0.5), False)
    assert (means["adam-constant"].factor, means["adam-constant"].stopped) == (pytest.approx(3**0.5), True)
    [sentence] = regret_sentences(results.across)
    assert sentence.endswith("lower by a factor of (geometric mean): meta-policy 1.22, adam-constant 1.73 or more.")


def test_page_and_text_show_them(results: Results) -> None:
    title = "What a setting of this task's own could have won"
    html, text = page(results), markdown_report(results)
    assert html.count("own could have won</h3>") == text.count(f"### {title}") == 2
    assert "| `adam-constant` | 3 | 9.00 or more | 0 | 4.50 | 2.00 or more |" in text
    [sentence] = regret_sentences(results.across)
    assert sentence in text
    assert "meta-policy 1.22, adam-constant 1.73 or more." in html


def test_nothing_where_settings_were_chosen_on_the_task(study: Any) -> None:
    results = build_results(study)
    assert [task.regrets for task in results.tasks.values()] == [(), ()]
    assert "regrets" not in results.across.model_dump()
    assert regret_table(results.tasks["breast_cancer"]) is None
    assert regret_sentences(results.across) == []
    assert "own could have won" not in markdown_report(results)


def test_a_task_without_regrets_leaves_no_mean(results: Results) -> None:
    some = results.tasks["one"].regrets
    assert mean_regrets([[], some]) == mean_regrets([some, []]) == mean_regrets([[], []]) == {}
