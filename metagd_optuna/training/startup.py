"""Load TensorFlow the way training wants it: quick on every CPU, and without the page of notes that it greets with."""

from __future__ import annotations

import os
import sys
import tempfile


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
