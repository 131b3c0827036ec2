"""The scripts of docs/scale run: with Dask and TLS as they are, and with stand-ins for Slurm, SSH and the study."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "scale"
PROGRAMS = Path(sys.executable).parent
STAND_INS = {
    # Slurm: a job is a process of a copy of its script, and what it would be told to do again is noted.
    "srun": 'while [[ "$1" == -* ]]; do shift; done; exec "$@"',
    "scontrol": 'echo "$@" >> scontrol.log',
    "sbatch": 'cp "$1" job.sh; setsid bash job.sh >> workers.log 2>&1 & echo "Submitted batch job $!"',
    "scancel": 'kill -- "-$1"',
    # SSH: the other machine is this one.
    "ssh": '[ "$1" = -tt ] && exec bash -c "$3"',
}
# Dask, where only the script is looked at: it leaves its process id, and the scheduler its address as well.
DASK = """
    echo "$CUDA_VISIBLE_DEVICES $*" >> dask.log; echo $$ >> pids
    while [ $# -gt 0 ]; do [ "$1" = --scheduler-file ] && scheduler_file=$2; shift; done
    [ -z "$scheduler_file" ] || echo '{"address": "tls://host:8786"}' > "$scheduler_file"
    exec sleep 300
"""
# A study that would go on for ever, and hands back when it is asked to stop.
ENDLESS = "trap 'exit 143' TERM; trap 'exit 130' INT; echo > begun; while :; do sleep 0.1; done"
BOTH_THERE = 'until [ "$(wc -l < pids)" -eq 2 ]; do sleep 0.1; done'
# What a study does with a cluster, as a program; whoever has no key must not take part.
JOINED = f"""
import os, subprocess, sys
from distributed import Client, Security
from metagd_optuna.tuning.clients import joined_client

def use(client):
    client.wait_for_workers(1, timeout=120)
    assert client.scheduler.address.startswith("tls://")
    open("worker", "w").write(str(client.submit(os.getpid).result(timeout=60)))
    subprocess.run(["bash", "{FOLDER}/certificate.sh", "stranger"], check=True, capture_output=True)
    cert, key = "stranger/cert.pem", "stranger/key.pem"
    stranger = Security(tls_ca_file=cert, tls_client_cert=cert, tls_client_key=key)
    try:
        Client(client.scheduler.address, security=stranger, timeout=3)
    except OSError:
        open("refused", "w").close()
"""


@pytest.fixture
def place(tmp_path):
    """A folder with programs that stand in for others, an environment to activate, and a home with a certificate."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, body in STAND_INS.items():
        write_program(tmp_path, name, body)
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'PATH="{programs}:{PROGRAMS}:$PATH"\n', encoding="utf-8")
    shutil.copytree(FOLDER, tmp_path / "docs" / "scale")
    subprocess.run(
        ["bash", FOLDER / "certificate.sh", tmp_path / "metagd-tls"], check=True, capture_output=True, timeout=60
    )
    return tmp_path


def write_program(place, name, body):
    path = place / "programs" / name
    path.write_text(f"#!/usr/bin/env bash\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def start(place, *command):
    """Start a command in the folder, as its own process group, as a batch system would."""
    own = {"HOME": str(place), "TMPDIR": str(place), "SLURM_JOB_ID": "7", "PYTHONPATH": str(FOLDER.parents[1])}
    path = f"{place / 'programs'}:{os.environ['PATH']}"
    log = (place / "log").open("w", encoding="utf-8")
    with log:
        return subprocess.Popen(
            command,
            cwd=place,
            env=os.environ | own | {"PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_until(condition, process, place):
    """Wait for a condition, for half a minute at most."""
    for _ in range(300):
        if condition():
            return
        if process.poll() is not None and not condition():
            break
        time.sleep(0.1)
    pytest.fail((place / "log").read_text(encoding="utf-8"))


def ended(pid):
    """Whether a process is gone, after ten seconds at most: a signal takes its time, and so does who reaps orphans."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_study_on_slurm_joins_dask_with_tls(place):
    write_program(place, "metagd", f'exec "{sys.executable}" study.py "$@"')
    (place / "study.py").write_text(
        f"{JOINED}\nassert sys.argv[1:4] == ['run', 'my_study.toml', '--cluster'], sys.argv\n"
        "with joined_client(sys.argv[4]) as client:\n    use(client)\n",
        encoding="utf-8",
    )
    script = start(place, "bash", "docs/scale/slurm.sh", "my_study.toml")
    assert script.wait(300) == 0, (place / "log").read_text(encoding="utf-8")
    assert (place / "refused").exists()
    assert ended(int((place / "worker").read_text(encoding="utf-8")))
    assert not (place / "scheduler-7.json").exists()
    assert not (place / "scontrol.log").exists()


@pytest.mark.parametrize(
    ("body", "sent", "code", "again"),
    [
        (ENDLESS, signal.SIGUSR1, 143, True),  # the time is nearly over
        (ENDLESS, signal.SIGTERM, -signal.SIGKILL, False),  # preempted or cancelled: it waits until Slurm ends it
        (f"{BOTH_THERE}; exit 1", None, 1, False),
        (f"{BOTH_THERE}; exit 0", None, 0, False),
    ],
    ids=["time", "preempted", "failed", "complete"],
)
def test_how_a_job_on_slurm_ends(place, body, sent, code, again):
    write_program(place, "metagd", body)
    write_program(place, "dask", DASK)
    script = start(place, "bash", "docs/scale/slurm.sh", "my_study.toml")
    pids = place / "pids"
    wait_until(lambda: pids.exists() and len(pids.read_text(encoding="utf-8").split()) == 2, script, place)
    if sent is not None:
        wait_until((place / "begun").exists, script, place)
        script.send_signal(sent)
    pids = [int(line) for line in (place / "pids").read_text(encoding="utf-8").split()]
    if code == -signal.SIGKILL:
        assert all(map(ended, pids))
        time.sleep(0.5)
        assert script.poll() is None
        os.killpg(script.pid, signal.SIGKILL)
    assert script.wait(60) == code, (place / "log").read_text(encoding="utf-8")
    noted = place / "scontrol.log"
    assert (noted.read_text(encoding="utf-8") if noted.exists() else "") == ("requeue 7\n" if again else "")
    assert len(pids) == 2
    assert all(map(ended, pids))


@pytest.mark.parametrize(
    ("gpus", "workers"), [("0\n1", ["0 1", "1 1"]), ("", [f" {os.cpu_count()}"])], ids=["gpus", "cores"]
)
def test_workstations_have_a_worker_per_gpu_and_none_is_left(place, gpus, workers):
    write_program(place, "metagd", ENDLESS)
    write_program(place, "dask", DASK)
    write_program(place, "nvidia-smi", f'printf "{gpus}"' if gpus else "exit 9")
    script = start(place, "bash", "docs/scale/workstations.sh", "my_study.toml", "127.0.0.1", "other.example")
    expected = 1 + 2 * len(workers)
    pids = place / "pids"
    wait_until(lambda: pids.exists() and len(pids.read_text(encoding="utf-8").split()) == expected, script, place)
    wait_until((place / "begun").exists, script, place)
    calls = (place / "dask.log").read_text(encoding="utf-8").splitlines()
    os.killpg(script.pid, signal.SIGINT)  # Ctrl-C, which bash keeps from what it has put into the background
    assert script.wait(30) == 130
    lines = sorted(line.split(" --memory-limit")[0] for line in calls if " worker " in line)
    assert lines == sorted(
        f"{gpu} worker tls://127.0.0.1:8786 --host {host} --nthreads {threads}"
        for host in ("127.0.0.1", "other.example")
        for gpu, threads in (each.split(" ") for each in workers)
    )
    for pid in map(int, pids.read_text(encoding="utf-8").split()):
        assert ended(pid)


def test_dask_jobqueue_brings_workers_with_tls(place):
    (place / "study.py").write_text(
        f"{JOINED}\nimport inspect, runpy\nimport metagd_optuna\n"
        "signature = inspect.signature(metagd_optuna.run_study)\n"
        "def run_study(*args, **kwargs):\n"
        "    given = signature.bind(*args, **kwargs).arguments\n"
        "    assert given.keys() == {'study', 'client'} and given['study'] == 'my_study.toml'\n"
        "    use(given['client'])\n"
        "metagd_optuna.run_study = run_study\n"
        "if __name__ == '__main__':\n"
        "    runpy.run_path('docs/scale/slurm_jobqueue.py', run_name='__main__')\n",
        encoding="utf-8",
    )
    script = start(place, sys.executable, "study.py", "my_study.toml")
    assert script.wait(300) == 0, (place / "log").read_text(encoding="utf-8")
    assert (place / "refused").exists()
    assert ended(int((place / "worker").read_text(encoding="utf-8")))
