"""Load TensorFlow the way training wants it: quick on every CPU, and without the page of notes that it greets with.

Before that, tell whether Keras would run on it at all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given


def set_environment() -> None:
    """Set what TensorFlow reads from the environment while it is loaded; what the user has set stays.

    By itself TensorFlow uses oneDNN's convolutions only on CPUs with instructions made for neural networks. On one
    with AVX2 alone they are better, too: a step of the article's CNN takes 0.57 of the time (docs/benchmarks.md).
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # only errors


def load_tensorflow() -> None:
    """Import TensorFlow; what its C++ part prints meanwhile is shown only if the import fails.

    The notes (which instructions were compiled in, that there is no CUDA) come before any of TensorFlow's own
    settings for its log take effect, so only the process's error stream can hold them back. In a process that has
    already loaded TensorFlow nothing changes.
    """
    set_environment()
    if sys.stderr is None:  # closed by whoever started the process; then nothing is shown anyway
        import tensorflow

        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow  # noqa: F401 - for its side effect
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def check_backend() -> None:
    """Refuse a Keras that runs on something else than TensorFlow; nothing is loaded to find out.

    Raises:
        MetaGDError: naming the backend, and what chose it.
    """
    backend, chosen_by = _backend()
    if backend != "tensorflow":
        raise MetaGDError(
            f"Keras' backend is {as_given(backend)}, by {chosen_by}, and studies train on TensorFlow alone: set "
            "KERAS_BACKEND=tensorflow in the environment before Python starts"
        )


def _backend() -> tuple[Any, str]:
    """Return Keras' backend and what chose it: Keras itself if it is loaded, else what it will read when it is."""
    keras = sys.modules.get("keras")
    if keras is not None:
        return keras.backend.backend(), "the Keras that this process has loaded"
    if named := os.environ.get("KERAS_BACKEND"):
        return named, "KERAS_BACKEND"
    file = Path(os.environ.get("KERAS_HOME", _default_home()), "keras.json").expanduser()
    if not file.exists():
        return "tensorflow", "default"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # which Keras takes for a file without settings
        return "tensorflow", "default"
    except OSError as error:
        raise MetaGDError(f"{file}: Keras cannot read its settings ({error.strerror}); make it readable") from error
    if not isinstance(settings, dict):
        raise MetaGDError(f"{file}: Keras' settings are {as_given(settings)}, not a JSON object; delete the file")
    return settings.get("backend", "tensorflow"), str(file)


def _default_home() -> Path:
    home = Path.home()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"
