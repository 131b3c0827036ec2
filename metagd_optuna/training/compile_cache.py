"""Where XLA keeps what it compiled for a GPU, so that the next study on it begins to train at once."""

from __future__ import annotations

import os
import re
import warnings

import tensorflow as tf

from metagd_optuna.files import cache_folder, make_private_folder

_FLAGS = "TF_XLA_FLAGS"
_DIRECTORY = "--tf_xla_persistent_cache_directory"


def keep_compiled_programs(device: str) -> None:
    """Let XLA store compiled programs in the user's cache, and take them from there.

    Programs of one kind of device and one version of TensorFlow share a folder; XLA itself compares the program. It
    takes effect only before XLA compiles for the first time in a process. A folder that the user has given XLA stays.
    Without a cache that can be written, everything is compiled anew, with a warning.

    Args:
        device: what compiles, in words.
    """
    flags = os.environ.get(_FLAGS, "")
    if _DIRECTORY in flags:
        return
    folder = cache_folder() / "xla" / re.sub(r"[^A-Za-z0-9.]+", "-", f"{device} tensorflow {tf.__version__}")
    try:
        make_private_folder(folder)
    except OSError as error:
        warnings.warn(f"{folder} cannot be made ({error.strerror}): programs are compiled anew", stacklevel=2)
        return
    quote = '"' if "'" in str(folder) else "'"
    os.environ[_FLAGS] = f"{flags} {_DIRECTORY}={quote}{folder}{quote}".strip()
