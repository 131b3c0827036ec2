"""Faults, injected into studies with real trainings: `make faults`, about twenty minutes on two cores.

Every study has to end with the results.json, but for its times, of one that trained undisturbed in one process. What is
killed are processes that were started here. `make faults ONLY="scheduler postgresql"` runs some of the scenarios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import sqlalchemy

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from postgresql import postgresql_server  # noqa: E402 - of the tests' folder
from small_study import SMALL_STUDY  # noqa: E402

TABLES = ("rows", "rows_too")
THREE = ", ".join(['"breast_cancer"', *(f'{{path = "{name}.csv", target = "label"}}' for name in TABLES)])
PRUNED = SMALL_STUDY.replace('"breast_cancer"', THREE).replace(
    "trials = 5", "trials = 8\nmedian_pruning = true\nresample_splits = true"
)
KILLS = 20
SOON = 10.0  # seconds in which whoever is asked to end has to be gone
BIN = Path(sys.executable).parent


class Study:
    """A study file in a folder of its own, run by the command line."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.file = folder / "small.toml"
        self.file.write_text(text, encoding="utf-8")

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start ``metagd run``."""
        command = [str(BIN / "metagd"), "run", str(self.file), "--out", str(self.folder / "out"), *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *options: str) -> str:
        """Run it to its end, and return what it printed."""
        process = self.start(*options)
        said, _ = process.communicate()
        assert process.returncode == 0, said[-3000:]
        return said

    @property
    def results(self) -> str:
        """Results but for the times."""
        found = json.loads((self.folder / "out/report/results.json").read_text(encoding="utf-8"))
        del found["timing"]
        return json.dumps(found, sort_keys=True)


class Scenarios:
    """What is done to studies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        whole = self.study("whole")
        whole.run()
        self.whole = whole.results

    def study(self, name: str, text: str = SMALL_STUDY) -> Study:
        """Return a study of its own."""
        return Study(self.folder / name, text)

    def same(self, study: Study) -> None:
        """Check that a study ended as the undisturbed one."""
        assert study.results == self.whole, f"{study.folder}: other results"

    def widths(self) -> str:
        """Train on 1, 2 and 5 workers."""
        for count in (1, 2, 5):
            study = self.study(f"workers{count}")
            study.run("--workers", str(count))
            self.same(study)
        return "the same results with 0, 1, 2 and 5 workers"

    def three_tasks(self) -> str:
        """Three tasks with pruning by the median, in one process and on 1, 2 and 5 workers."""
        found = []
        for count in (0, 1, 2, 5):
            study = self.study(f"three{count}", PRUNED)
            for seed, name in enumerate(TABLES):
                _rows(study.folder / f"{name}.csv", seed)
            study.run("--workers", str(count))
            found.append(study.results)
        assert len(set(found)) == 1, "other results"
        return f"three tasks, {_pruned(study)} pruned trials: the same results with 0, 1, 2 and 5 workers"

    def workers(self) -> str:
        """Kill workers at random moments until twenty were killed."""
        study, rng = self.study("killed"), random.Random(11)
        killed, rounds = 0, 0
        while killed < KILLS:
            if rounds:  # it ended before all were killed: once more, in a folder of its own
                self.same(study)
                study = self.study(f"killed{rounds}")
            rounds += 1
            process = study.start("--workers", "2")
            while process.poll() is None and killed < KILLS:
                time.sleep(rng.uniform(1, 5))
                workers = _workers(process.pid)
                if workers:
                    rng.choice(workers).kill()
                    killed += 1
            said, _ = process.communicate()
            assert process.returncode == 0, said[-3000:]
        self.same(study)
        return f"{killed} workers killed in {rounds} studies: the same results"

    def coordinator(self) -> str:
        """Kill the coordinator; its workers are gone soon; the same command goes on."""
        study = self.study("coordinator")
        process = study.start("--workers", "2")
        _wait_for(lambda: _runs(study) > 10)
        workers = _workers(process.pid)
        process.kill()
        process.communicate()
        gone = _seconds_until_gone(workers)
        before = _runs(study)
        study.run("--workers", "2")
        self.same(study)
        return (
            f"coordinator killed after {before} stored trials; its workers were gone {gone:.1f} s later; same results"
        )

    def terminated(self) -> str:
        """Ask the coordinator to end."""
        study = self.study("terminated")
        process = study.start("--workers", "2")
        _wait_for(lambda: _runs(study) > 10)
        workers, began = _workers(process.pid), time.monotonic()
        process.terminate()
        said, _ = process.communicate()
        took = time.monotonic() - began
        assert process.returncode == 143, (process.returncode, said[-2000:])
        assert "same command" in said, said[-2000:]
        assert took < SOON, took
        assert not [each for each in workers if each.is_running()]
        study.run("--workers", "2")
        self.same(study)
        return f"SIGTERM of the coordinator: code 143 after {took:.1f} s, no worker left; same results"

    def scheduler(self) -> str:
        """Kill a scheduler, and end a worker by SIGTERM."""
        study, file = self.study("scheduler"), self.folder / "scheduler.json"
        with ExitStack() as stack:
            scheduler, _ = _cluster(stack, file, 2)
            process = study.start("--cluster", str(file))
            _wait_for(lambda: _runs(study) > 10)
            scheduler.kill()
            scheduler.wait()
            said, _ = process.communicate()
            assert process.returncode == 2, (process.returncode, said[-2000:])
            assert "does not answer any more" in said, said[-2000:]
        file.unlink(missing_ok=True)
        with ExitStack() as stack:
            _, workers = _cluster(stack, file, 3)
            process = study.start("--cluster", str(file))
            before = _runs(study)
            _wait_for(lambda: _runs(study) > before + 5)
            began = time.monotonic()
            workers[0].terminate()
            workers[0].wait()
            took = time.monotonic() - began
            said, _ = process.communicate()
            assert process.returncode == 0, said[-2000:]
        self.same(study)
        assert took < SOON, took
        return f"scheduler killed: error, same command goes on; a worker's SIGTERM took {took:.1f} s; same results"

    def versions(self) -> str:
        """A worker that says it has another Keras is refused by name."""
        file, fake = self.folder / "versions.json", self.folder / "fake/keras-0.1.dist-info"
        fake.mkdir(parents=True)
        (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 0.1\n", encoding="utf-8")
        with ExitStack() as stack:
            _cluster(stack, file, 1, {"PYTHONPATH": f"{fake.parent}:{os.environ.get('PYTHONPATH', '')}"})
            study = self.study("versions")
            process = study.start("--cluster", str(file))
            said, _ = process.communicate()
        assert process.returncode == 2, said[-2000:]
        assert "keras is 0.1, the coordinator has" in said, said[-2000:]
        return "a worker with another Keras is refused by name"

    def postgresql(self) -> str:
        """PostgreSQL away for 30 s, the dashboard reading meanwhile; a second coordinator is refused."""
        with postgresql_server() as server:
            study = self.study("postgresql")
            process = study.start("--workers", "2", "--storage", server.url)
            _wait_for(lambda: _stored(server.url) > 10)
            second = Study(self.folder / "second", SMALL_STUDY)
            other = second.start("--storage", server.url)
            said, _ = other.communicate()
            assert other.returncode == 2, said[-2000:]
            assert "--cluster" in said, said[-2000:]
            before = _stored(server.url)
            server.stop()
            time.sleep(30)
            server.start()
            said, _ = process.communicate()
            assert process.returncode == 0, said[-3000:]
        assert "waiting for it" in said, said[-3000:]
        assert "is back" in said, said[-3000:]
        self.same(study)
        return f"PostgreSQL away for 30 s after {before} trials; a second coordinator refused; same results"


def _rows(file: Path, seed: int) -> None:
    """Write a table that can be learnt."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=160)
    values = rng.normal(size=(160, 4)) + labels[:, None] * 1.5
    rows = [",".join(f"{number:.5f}" for number in row) for row in values]
    lines = ["a,b,c,d,label", *(f"{row},{'ab'[label]}" for row, label in zip(rows, labels, strict=True))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pruned(study: Study) -> int:
    with sqlite3.connect(study.folder / "out/optuna.db") as connection:
        return int(connection.execute("SELECT count(*) FROM trials WHERE state = 'PRUNED'").fetchone()[0])


def _workers(coordinator: int) -> list[psutil.Process]:
    """Return the worker processes that a coordinator started."""
    try:
        children = psutil.Process(coordinator).children(recursive=True)
        return [each for each in children if "spawn_main" in " ".join(each.cmdline())]
    except psutil.NoSuchProcess:
        return []


def _runs(study: Study) -> int:
    """Return how many trials a study has stored."""
    file = study.folder / "out/optuna.db"
    if not file.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5) as connection:
            return int(connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 0


def _stored(url: str) -> int:
    """Return how many trials a server has of the study."""
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            query = sqlalchemy.text("SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
            return int(connection.execute(query).scalar_one())
    except sqlalchemy.exc.DBAPIError:  # the tables are not made yet
        return 0
    finally:
        engine.dispose()


def _wait_for(condition: Callable[[], bool], longest: float = 300.0) -> None:
    until = time.monotonic() + longest
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("it did not come so far")
        time.sleep(0.2)


def _seconds_until_gone(processes: list[psutil.Process]) -> float:
    began = time.monotonic()
    _wait_for(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes), 60)
    return time.monotonic() - began


def _cluster(
    stack: ExitStack, file: Path, count: int, environment: dict[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]:
    """Start a scheduler and workers, as a user would; they end with the context."""

    def start(*command: str, **more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [str(BIN / "dask"), *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **more},
        )
        stack.callback(_end, process)
        return process

    scheduler = start("scheduler", "--scheduler-file", str(file), "--port", "0", "--dashboard-address", "127.0.0.1:0")
    _wait_for(file.exists, 60)
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--memory-limit", "0", "--no-dashboard")
    return scheduler, [start("worker", *options, **(environment or {})) for _ in range(count)]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, with its children."""
    if process.poll() is not None:
        return
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        if child.is_running():
            child.kill()


def main() -> None:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("widths", "three_tasks", "workers", "coordinator", "terminated", "scheduler", "versions", "postgresql")
    parser.add_argument("only", nargs="*", choices=[*names, []], help=f"of {', '.join(names)}; by default all")
    chosen = parser.parse_args().only or names
    with tempfile.TemporaryDirectory(prefix="metagd-faults-") as folder:
        scenarios = Scenarios(Path(folder))
        for name in chosen:
            began = time.monotonic()
            said = getattr(scenarios, name)()
            print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
