"""Load TensorFlow without the page of notes that it greets with."""

from __future__ import annotations

import os
import sys
import tempfile


def load_tensorflow_quietly() -> None:
    """Import TensorFlow; what its C++ part prints meanwhile is shown only if the import fails.

    The notes (which instructions were compiled in, that there is no CUDA) come before any of TensorFlow's own
    settings for its log take effect, so only the process's error stream can hold them back.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # and later, only errors
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
