"""What optuna-dashboard shows of a finished study, seen in a browser."""

import threading
from typing import NamedTuple

import pytest
from browser import browser
from playwright.sync_api import Page, expect, sync_playwright
from small_study import TASK, store_of, stored_trials

from metagd_optuna.policy.formula import formula_lines
from metagd_optuna.tuning.dashboard import dashboard_server
from metagd_optuna.tuning.stored_trials import candidate_of_trial, runs_of

DRAWN = "id => document.getElementById(id)?.data?.length > 0"
POINTS = "id => document.getElementById(id).data.map(trace => Array.from(trace.y)).filter(y => y.length)"
PATIENCE = 60_000  # ms: a page with several charts takes seconds of a core that other tests use too
SPANS = "document.getElementById('graph-timeline').data.flatMap(trace => Array.from(trace.x))"

# The dashboard computes importances as it serves; a small search has few trials for them.
pytestmark = pytest.mark.filterwarnings("ignore:Some regimes for parameter:UserWarning")


class Dashboard(NamedTuple):
    """A page of the browser, where the dashboard is, and what went wrong on any page."""

    page: Page
    address: str
    errors: list[str]
    task: object

    def open(self, part, tab=""):
        """Open a tab of the page of a phase or method."""
        found = self.task.load(part)._study_id
        self.page.goto(f"{self.address}/dashboard/studies/{found}{tab}")
        return self.page

    def trial(self, part, number):
        """Open the page of a trial."""
        page = self.open(part, f"/trials?numbers={number}")
        expect(page.get_by_role("heading", name=f"Trial {number} (trial_id=")).to_be_visible()
        return page


@pytest.fixture(scope="module")
def dashboard(finished_study):
    executable = browser()
    store = store_of(finished_study.out)
    server = dashboard_server(store.storage, host="127.0.0.1", port=0, artifacts=finished_study.out / "artifacts")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    errors = []
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    try:
        with sync_playwright() as playwright:
            window = playwright.chromium.launch(executable_path=executable, args=options)
            page = window.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("request", lambda asked: None if asked.url.startswith(address) else errors.append(asked.url))
            yield Dashboard(page, address, errors, store.task(TASK))
            window.close()
    finally:
        expect.set_options(timeout=None)
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_errors(dashboard):
    dashboard.errors.clear()
    yield
    assert dashboard.errors == []


def loaded(page, pictures):
    """Wait until a note shows so many pictures."""
    page.wait_for_function(
        "count => [...document.querySelectorAll('img[alt^=\"learning rate\"]')]"
        ".filter(picture => picture.naturalWidth > 0).length == count",
        arg=pictures,
    )


def test_the_list_begins_with_a_summary_that_links_to_every_part(dashboard, finished_study):
    page = dashboard.page
    page.goto(f"{dashboard.address}/dashboard")
    first = page.get_by_role("link").filter(has_text="small").first
    expect(first).to_contain_text("small: begin here")
    first.click()
    expect(page.get_by_text("Study User Attributes")).to_be_visible()
    page.goto(f"{page.url}/note")
    expect(page.get_by_text("no difference in speed is shown").first).to_be_visible()
    for part in ("confirm", "meta-policy", "adam-constant", "shortlist", "calibrate"):
        link = page.get_by_role("link", name=part, exact=True)
        assert link.get_attribute("href") == f"/dashboard/studies/{dashboard.task.load(part)._study_id}"
    page.get_by_role("link", name="confirm", exact=True).click()
    expect(page.get_by_text(f"small/{TASK}/confirm")).to_be_visible()


@pytest.mark.parametrize("method", ["meta-policy", "adam-constant"])
def test_a_search_shows_values_and_no_bounds(dashboard, finished_study, method):
    trials = stored_trials(finished_study.out, method)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    page = dashboard.open(method)
    page.wait_for_function(DRAWN, arg="plot-history")
    points, best = page.evaluate(POINTS, "plot-history")
    assert points == [trial.value for trial in complete]
    assert best[-1] == min(trial.value for trial in complete)
    expect(page.get_by_role("heading", name=str(best[-1]), exact=True)).to_be_visible()
    expect(page.get_by_text("Intermediate values")).to_have_count(0)
    page.wait_for_function(DRAWN, arg="graph-timeline")
    spans = page.evaluate(SPANS)
    assert len(spans) == len(trials)
    assert min(spans) > 0
    dashboard.open(method, "/analytics")
    page.wait_for_function(DRAWN, arg="plot-slice")
    assert [value for drawn in page.evaluate(POINTS, "plot-slice") for value in drawn] == points
    dashboard.open(method, "/smartSelection")
    page.wait_for_function(DRAWN, arg="plot-parallel-coordinate")
    first = "Array.from(document.getElementById('plot-parallel-coordinate').data[0].dimensions[0].values)"
    assert page.evaluate(first) == points


def test_a_pruned_trial_has_no_value(dashboard, finished_study):
    pruned = next(t for t in stored_trials(finished_study.out, "meta-policy") if t.state.name == "PRUNED")
    page = dashboard.trial("meta-policy", pruned.number)
    expect(page.get_by_text("Stopped, so it has no value")).to_be_visible()
    loaded(page, 1)


@pytest.mark.parametrize("method", ["meta-policy", "adam-constant"])
def test_the_chosen_trial_is_named_and_marked(dashboard, finished_study, method):
    number = dashboard.task.outcome.chosen_trials[method]
    page = dashboard.open(method, "/note")
    loaded(page, 1)
    page.get_by_role("link", name=f"Trial {number}", exact=True).click()
    expect(page.get_by_role("heading", name=f"Trial {number} (trial_id=")).to_be_visible()
    expect(page.get_by_text("chosen by the shortlist for the confirmation")).to_be_visible()
    assert dashboard.task.load(method).user_attrs["chosen_trial"] == number


@pytest.mark.parametrize("part", ["calibrate", "meta-policy", "adam-constant", "shortlist", "confirm"])
def test_every_trials_page_has_formula_seeds_and_curves(dashboard, finished_study, part):
    trials = stored_trials(finished_study.out, part)
    for trial in (trials[0], trials[-1]):
        page = dashboard.trial(part, trial.number)
        formula = formula_lines(candidate_of_trial(trial).formula).splitlines()
        for line in formula:
            expect(page.get_by_text(line).first).to_be_visible()
        for run in runs_of(trial):
            expect(page.get_by_role("cell", name=str(run["seed"]), exact=True)).to_be_visible()
        loaded(page, 1)


def test_the_confirmation_has_titles_times_and_no_importance_of_the_seed(dashboard, finished_study):
    page = dashboard.open("confirm")
    for title in ("Learning curves and learning rates", "Speed-ups against the best baseline", "The searches"):
        expect(page.get_by_text(title, exact=True)).to_be_visible()
    page.wait_for_function(DRAWN, arg="graph-timeline")
    spans = page.evaluate(SPANS)
    trials = stored_trials(finished_study.out, "confirm")
    assert len(spans) == len(trials)
    assert min(spans) > 10  # in milliseconds: of some 1000 that a batch trains
    page.wait_for_function(DRAWN, arg="graph-hyperparameter-importances")
    names = page.evaluate("document.getElementById('graph-hyperparameter-importances').data.flatMap(bar => bar.y)")
    assert [name.strip() for name in names] == ["candidate"]
    expect(page.get_by_text("Intermediate values")).to_have_count(0)


def test_the_note_of_the_confirmation_shows_verdict_picture_and_formula(dashboard):
    page = dashboard.open("confirm", "/note")
    loaded(page, 1)
    expect(page.get_by_text("no difference shown")).to_be_visible()
    expect(page.get_by_text("lr = ").first).to_be_visible()
    assert "$" not in page.inner_text("#dashboard")
