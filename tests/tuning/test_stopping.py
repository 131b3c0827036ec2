"""Studies that get SIGTERM: trials wait for the next run, the exit code says why, and it is soon."""

import os
import signal
import threading
import time

import pytest
from killed_study import CHILDREN
from small_study import PARTS, results_but_times, searched, stored_trials

from metagd_optuna.study import Interrupted, run_study
from metagd_optuna.tuning.stopping import leave, stoppable

LATEST = 10.0  # seconds from the signal to the end


def _command(study_file, out, folder, place, count, blocked):
    """Run a study as the command line does, with SIGTERM when it comes to a place for the ``count``-th time."""
    with (folder / "stderr").open("wb") as file:
        os.dup2(file.fileno(), 2)
    import metagd_optuna.study as application
    from metagd_optuna.terminal import print_error
    from metagd_optuna.training.population import Population
    from metagd_optuna.tuning import runner

    seen = 0

    def wrap(owner, name, place_of):
        kept = getattr(owner, name)

        def wrapped(*given, **named):
            nonlocal seen
            seen += place_of(*given) == place
            if place_of(*given) == place and seen == count:
                (folder / "struck").write_text(str(time.time()), encoding="utf-8")
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)  # a manager of jobs may send it twice
                time.sleep(blocked)
            return kept(*given, **named)

        setattr(owner, name, wrapped)

    wrap(Population, "advance", lambda self, *_: "train " + self._aboard[0].job.name.partition("#")[0])
    wrap(runner, "audit", lambda *_: "audit")
    wrap(application, "write_report", lambda *_: "report")
    try:
        with stoppable() as stop:
            run_study(study_file, out=out)
    except Interrupted as stopped:
        print_error(str(stopped), ())
        leave(stop.exit_code)


@pytest.fixture
def terminated(study_file, tmp_path):
    """Run the small study until it gets SIGTERM somewhere; return its exit code, what it said, and the seconds."""

    def terminate(place, count=1, blocked=0.0):
        out = tmp_path / "out"
        child = CHILDREN.Process(target=_command, args=(study_file, out, tmp_path, place, count, blocked))
        child.start()
        child.join(timeout=240)
        ended = time.time()
        if child.exitcode is None:
            child.kill()
            child.join()
        said = (tmp_path / "stderr").read_text(encoding="utf-8").splitlines()
        return out, child.exitcode, said[-1], ended - float((tmp_path / "struck").read_text(encoding="utf-8"))

    return terminate


@pytest.mark.parametrize("blocked", [0.0, 60.0], ids=["in a rate update", "in a step that takes a minute"])
def test_sigterm_in_a_search_hands_trials_back_and_ends_soon(terminated, whole, search_only, blocked):
    out, code, said, seconds = terminated("train meta-policy", 6, blocked)
    assert code == 128 + signal.SIGTERM
    assert said.startswith("stopped; what was trained is kept, and 2 trials wait for their turn. Go on with the same")
    assert seconds < LATEST
    states = [trial.state.name for trial in stored_trials(out, "meta-policy")]
    assert (states.count("RUNNING"), states.count("WAITING")) == (0, 2)
    if not blocked:
        search_only(out)
        assert searched(out) == searched(whole[0])


@pytest.mark.parametrize("place", ["audit", "report"])
def test_before_and_after_the_trainings_it_says_how_to_go_on(terminated, study_file, whole, place):
    out, code, said, seconds = terminated(place)
    assert code == 128 + signal.SIGTERM
    assert said.startswith("stopped; what was trained is kept")
    assert said.endswith("Go on with the same command")
    assert seconds < LATEST
    if place == "report":
        assert results_but_times(run_study(study_file, out=out)) == whole[1]
        assert {trial.state.name for part in PARTS for trial in stored_trials(out, part)} <= {"COMPLETE", "PRUNED"}


def test_handler_is_put_back_whatever_happens():
    before = signal.getsignal(signal.SIGTERM)
    with stoppable() as stop:
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert stop.exit_code == 130
    with pytest.raises(ValueError, match="odd"), stoppable():
        raise ValueError("odd")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_either_signal_interrupts(number, code):
    before = signal.getsignal(signal.SIGTERM)

    def struck():
        os.kill(os.getpid(), number)
        time.sleep(5)  # Python runs a handler between two of its own steps

    with pytest.raises(Interrupted, match="same command"), stoppable() as stop:
        struck()
    assert stop.exit_code == code
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_started_to_ignore_sigterm_goes_on():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stoppable() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.exit_code == 130
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_can_do_without_signals():
    codes = []

    def work():
        with stoppable() as stop:
            codes.append(stop.exit_code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [130]


def test_nobody_to_wait_for_is_a_plain_exit():
    with pytest.raises(SystemExit) as caught:
        leave(143)
    assert caught.value.code == 143
