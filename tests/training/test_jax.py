"""Callback and optimizer on Keras' JAX backend: the tests of tests/own_training, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_the_same_tests_pass_on_jax(request):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # Each test compiles a few small programs, often those of another test, which takes longer than running them.
        # What was compiled is kept in pytest's cache for the next time.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "JAX_COMPILATION_CACHE_DIR": str(request.config.cache.mkdir("jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not one_backend"]
    command.append(str(TESTS / "own_training"))
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_no_tensorflow_is_loaded():
    """Its import takes seconds, and its CUDA is seldom that of JAX."""
    program = (
        "import sys\n"
        "from metagd_optuna import MetaPolicyCallback, load_policy\n"
        "from metagd_optuna.training.keras_probe import KerasProbe\n"
        "load_policy('universal').make_optimizer()\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
