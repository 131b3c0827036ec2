"""The scripts and manifests of docs/scale: they parse, and what they ask of Dask, Slurm and Kubernetes exists there."""

import ast
import inspect
import os
import re
import runpy
import shlex
import signal
import subprocess
from pathlib import Path

import click
import dask
import kubernetes_validate
import pytest
import yaml
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed.cli.dask_scheduler import main as dask_scheduler
from distributed.cli.dask_worker import main as dask_worker

from metagd_optuna.cli.studies import dashboard, run
from metagd_optuna.study import run_study

signal.signal(signal.SIGINT, signal.default_int_handler)  # dask_jobqueue.runner takes it, only by being imported

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "scale"
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
SHELL = sorted(FOLDER.glob("*.sh"))
BLOCKS = re.findall(r"(?:^    .*\n)+", PAGE, re.M)
YAML = sorted((FOLDER / "kubernetes").glob("*.yaml"))
MANIFESTS = [manifest for file in YAML for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
JOBQUEUE = FOLDER / "slurm_jobqueue.py"
COMMANDS = {
    ("dask", "scheduler"): dask_scheduler,
    ("dask", "worker"): dask_worker,
    ("metagd", "run"): run,
    ("metagd", "dashboard"): dashboard,
}
# Options of sbatch (version 24.11) that the scripts may use, and how their values look.
SBATCH = {
    "array": r"\d+-\d+",
    "cpus-per-task": r"\d+",
    "dependency": r"singleton",
    "gpus-per-task": r"\d+",
    "job-name": r"[\w-]+",
    "mem": r"\d+[KMG]",
    "mem-per-cpu": r"\d+[KMG]",
    "ntasks": r"\d+",
    "open-mode": r"append|truncate",
    "output": r"[\w%.-]+",
    "partition": r"\w+",
    "requeue": r"",
    "signal": r"(?:B:)?(?:USR1|USR2|TERM)@\d+",
    "time": r"(?:\d+-)?\d\d:\d\d:\d\d",
}
SHORT = {"-J": "job-name", "-p": "partition", "-n": "ntasks", "-t": "time"}  # as dask-jobqueue writes them


def commands_in(shell):
    """Return the calls of Dask and metagd in a shell script, as lists of words."""
    lexer = shlex.shlex(shell.replace("\\\n", " "), posix=True, punctuation_chars="&|;<>()\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    words, found = [*lexer, "\n"], []
    for place in range(len(words) - 1):
        if tuple(words[place : place + 2]) in COMMANDS:
            end = next(n for n in range(place, len(words)) if not words[n].strip("&|;<>()\n"))
            found.append(words[place:end])
    return found


def containers():
    """Return every container of the manifests, with the specification of its pod."""
    pods = [each["spec"]["template"]["spec"] for each in MANIFESTS if "template" in each.get("spec", {})]
    return [(pod, container) for pod in pods for container in pod["containers"]]


# Scripts


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(script):
    subprocess.run(["bash", "-n", script], check=True)


def sbatch_options(script):
    """Return the options that a job script has for sbatch, which reads no further than the first command."""
    lines = script.splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < first
    options = {}
    for n in directives:
        name, _, value = lines[n].removeprefix("#SBATCH ").replace(" ", "=", 1).partition("=")
        options[SHORT.get(name, name.removeprefix("--"))] = value
    return options


@pytest.mark.parametrize("script", ["slurm.sh", "slurm_worker.sh", "slurm_jobqueue.py"])
def test_options_of_sbatch_exist(script, monkeypatch):
    text = (FOLDER / script).read_text(encoding="utf-8")
    options = sbatch_options(job_script(text) if script.endswith(".py") else text)
    assert {name for name in options if name not in SBATCH} == set()
    assert {name: value for name, value in options.items() if not re.fullmatch(SBATCH[name], value)} == {}
    assert options["gpus-per-task"] == "1"
    assert "requeue" in options


def job_script(text):
    """Return the script of a worker's job that dask-jobqueue writes for the arguments in a Python script."""
    [call] = [call for call in calls_in(text) if call.func.id == "SLURMCluster"]
    accepted = [*inspect.signature(SLURMJob.__init__).parameters, *inspect.signature(SLURMJob.__base__).parameters]
    of_cluster = inspect.signature(SLURMCluster.__init__).parameters
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    assert call.args == []
    assert {name for name in given if name not in accepted and name not in of_cluster} == set()
    literal = {
        name: ast.literal_eval(value) for name, value in given.items() if name in accepted and name != "security"
    }
    return SLURMJob(scheduler="tls://10.0.0.1:8786", name="worker", **literal).job_script()


CALLS = [
    *[(script.name, call) for script in SHELL for call in commands_in(script.read_text(encoding="utf-8"))],
    *[("scale.md", call) for block in BLOCKS for call in commands_in(block)],
    *[("kubernetes", container["args"]) for _, container in containers() if "args" in container],
]


@pytest.mark.parametrize(
    ("where", "words"), CALLS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_commands_have_the_options_that_are_given(where, words):
    values = [re.sub(r"^\$\w+$", "1", word) for word in words[2:]]  # of the shell's variables
    COMMANDS[tuple(words[:2])].make_context(words[1], values).close()


def test_an_option_that_does_not_exist_is_noticed():
    """So that the test above can fail."""
    [words] = commands_in("exec srun dask worker tcp://host:8786 --nthreads 1 \\\n  --nprocs 2 &\n")
    with pytest.raises(click.NoSuchOption, match="nprocs"):
        dask_worker.make_context("worker", words[2:])


def test_every_script_is_shown_on_the_page_and_calls_something():
    for path in [*FOLDER.glob("*.*"), FOLDER / "kubernetes"]:
        assert f"scale/{path.name}" in PAGE, path.name
    called = {where for where, _ in CALLS}
    assert called >= {"slurm.sh", "slurm_worker.sh", "workstations.sh", "workers.sh", "scale.md", "kubernetes"}


def calls_in(text):
    """Return the calls of plain names in a piece of Python."""
    nodes = ast.walk(ast.parse(text))
    return [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]


PYTHON = [
    *[(path.name, path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.py"))],
    *[("scale.md", block) for block in re.findall(r"```python\n(.*?)```", PAGE, re.S)],
]


@pytest.mark.parametrize(("where", "text"), PYTHON, ids=[where for where, _ in PYTHON])
def test_python_calls_match_the_signatures(where, text):
    names = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), names)
    bound = 0
    for call in calls_in(text):
        called = names.get(call.func.id)
        if called is None or called is SLURMCluster:  # job_script() looks at the latter, which takes any keyword
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        signature = inspect.signature(called)
        signature.bind(*call.args, **given)
        if called is run_study:  # it takes the keys of a study file as well
            assert given.keys() <= signature.parameters.keys()
        bound += 1
    assert bound or where == "scale.md"


# Dask's TLS


def in_dasks_spelling(settings):
    """Return settings from variables with hyphens, which Dask's own files have where variables have underscores."""
    if not isinstance(settings, dict):
        return settings
    return {name.replace("_", "-"): in_dasks_spelling(value) for name, value in settings.items()}


def test_variables_for_tls_are_keys_of_dasks_configuration():
    script = subprocess.run(
        ["bash", "-c", f"set -eu; METAGD_TLS=/tls; source '{FOLDER}/tls.sh'; env"],
        env={"PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    )
    variables = dict(line.split("=", 1) for line in script.stdout.splitlines() if line.startswith("DASK_"))
    tls = {"ca-file": "/tls/cert.pem"}
    tls |= {part: {"cert": "/tls/cert.pem", "key": "/tls/key.pem"} for part in ("scheduler", "worker", "client")}
    wanted = {"require-encryption": True, "tls": tls}
    assert in_dasks_spelling(dask.config.collect_env(variables)) == {"distributed": {"comm": wanted}}
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert yaml.safe_load(block.replace("/home/ann/metagd-tls", "/tls")) == {"distributed": {"comm": wanted}}
    known = dask.config.get("distributed.comm")
    assert known.keys() >= wanted.keys()
    assert known["tls"].keys() >= tls.keys()
    [manifest] = [
        each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "dask"
    ]
    assert manifest == variables


# Kubernetes


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_manifests_have_kubernetes_schema(manifest, version):
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_a_manifest_with_a_misspelt_key_is_noticed():
    """So that the test above can fail."""
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(MANIFESTS[0] | {"kind": "Service", "replica": 1}, "1.37", strict=True)


@pytest.mark.parametrize(("pod", "container"), containers(), ids=[container["name"] for _, container in containers()])
def test_pods_may_do_nothing_but_their_work(pod, container):
    """The profile "restricted" of Kubernetes' Pod Security Standards, and no account at Kubernetes itself."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # Dask reads every variable DASK_..., of which it would make some
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert "memory" in container["resources"]["limits"]
    assert not any(
        mount.get("readOnly") is not True for mount in container.get("volumeMounts", ()) if mount["name"] == "tls"
    )


def test_what_pods_refer_to_exists():
    """Secrets are made by the page's commands, and none is in a manifest."""
    made = set(re.findall(r"kubectl -n metagd create (secret|configmap) (?:generic |tls )?([\w-]+)", PAGE))
    made |= {(each["kind"].lower(), each["metadata"]["name"]) for each in MANIFESTS}
    made |= {("persistentvolumeclaim", name) for name in re.findall(r"claim `(\w+)`", PAGE)}
    assert not any(kind == "secret" for kind in (each["kind"].lower() for each in MANIFESTS))
    needed = {("secret", "dashboards-tls")}
    for pod, container in containers():
        mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
        templates = {"database"} if container["name"] == "postgresql" else set()
        assert mounts <= {volume["name"] for volume in pod.get("volumes", ())} | templates
        for source in container.get("envFrom", ()):
            needed.add(("configmap", source["configMapRef"]["name"]))
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                needed.add(("secret", reference["name"]))
                assert f"{reference['name']} --from-literal={reference['key']}=" in PAGE
        for volume in pod.get("volumes", ()):
            if "secret" in volume:
                needed.add(("secret", volume["secret"]["secretName"]))
            if "configMap" in volume:
                needed.add(("configmap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                needed.add(("persistentvolumeclaim", volume["persistentVolumeClaim"]["claimName"]))
    assert needed <= made


def test_each_worker_has_one_gpu_and_one_thread():
    [worker] = [container for _, container in containers() if container["name"] == "worker"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--nthreads=1" in worker["args"]


# Ports


def rows():
    """Return the rows of the page's table of ports: the ports, who listens, who connects."""
    table = re.search(r"^\| port \| .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M).group(1)
    return [[cell.strip() for cell in line.strip("|").split(" | ")][:3] for line in table.splitlines()]


def numbers(cell):
    """Return all ports of a cell such as ``9000 to 9019``."""
    first, _, last = cell.partition(" to ")
    return range(int(first), int(last or first) + 1)


def test_policies_open_what_the_table_says_and_nothing_else():
    allowed = set()
    for manifest in MANIFESTS:
        if manifest["kind"] != "NetworkPolicy":
            continue
        assert manifest["spec"]["policyTypes"] == ["Ingress"]
        to = manifest["spec"]["podSelector"].get("matchLabels", {}).get("app")
        for rule in manifest["spec"].get("ingress", ()):
            for peer in rule["from"]:
                [selector] = peer.values()
                [who] = selector["matchLabels"].values()
                for port in rule["ports"]:
                    allowed |= {(who, to, n) for n in range(port["port"], port.get("endPort", port["port"]) + 1)}
    said = {
        (who.strip("`"), to.strip("`"), port)
        for cell, to, peers in rows()
        for who in peers.split(", ")
        for port in numbers(cell)
        if who != "nobody"
    }
    assert allowed == said
    [everything] = [each for each in MANIFESTS if each["kind"] == "NetworkPolicy" and not each["spec"]["podSelector"]]
    assert "ingress" not in everything["spec"]


def test_every_port_of_the_page_is_in_the_manifests():
    """And every one that something listens on is on the page."""
    named = {port for cell, _, _ in rows() for port in numbers(cell)}
    text = "\n".join(file.read_text(encoding="utf-8") for file in YAML)
    for cell, _, _ in rows():
        assert {end for end in cell.split(" to ") if not re.search(rf"\b{end}\b", text)} == set()
    mentioned = {int(port) for port in re.findall(r"\b(?:port |:)(\d{4,5})\b", PAGE)}
    assert mentioned <= named
    listened = {port["containerPort"] for _, container in containers() for port in container.get("ports", ())}
    served = {port["port"] for each in MANIFESTS if each["kind"] == "Service" for port in each["spec"]["ports"]}
    assert listened == served
    assert listened <= named


def test_nobody_reaches_a_dashboard_without_a_login():
    [pod] = {id(pod): pod for pod, container in containers() if container["name"] == "login"}.values()
    board, login = pod["containers"]
    assert {"--host=127.0.0.1", "--port=8080"} <= set(board["args"])
    assert "ports" not in board
    [nginx] = [
        each["data"]["default.conf"]
        for each in MANIFESTS
        if each["metadata"]["name"] == "dashboards" and "data" in each
    ]
    before, *servers = nginx.split("server {")
    assert "auth_basic_user_file /users/htpasswd;" in before  # of all servers
    assert "auth_basic off" not in nginx
    assert {int(re.search(r"listen (\d+);", server).group(1)) for server in servers} == {
        port["containerPort"] for port in login["ports"]
    }


def test_the_script_for_processes_of_ones_own_is_no_program_until_it_is_called():
    assert "optimize" in runpy.run_path(str(FOLDER / "own_objective.py"))
