"""Files written in one piece, so that a reader sees the old or the whole new one; documents read; the user's cache."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from metagd_optuna.contracts import MetaGDError

CACHE_DIR_VARIABLE = "METAGD_CACHE_DIR"
FULL = (errno.ENOSPC, errno.EDQUOT)
AGAIN = "give the same command again"  # a study goes on, and anything else is written anew
# Of a document; the largest that a study writes have a few MiB, and Python's objects take a multiple.
MOST_TEXT = 2**27


def cache_folder() -> Path:
    """Return where what can be measured or made again is kept: the folder METAGD_CACHE_DIR, or the user's cache."""
    folder = os.environ.get(CACHE_DIR_VARIABLE)
    return Path(folder).expanduser() if folder else platformdirs.user_cache_path("metagd_optuna", appauthor=False)


def make_private_folder(folder: Path) -> None:
    """Make a folder and those that it is in, for their owner alone (mode 0700); what is there stays as it is.

    Raises:
        OSError: if one cannot be made.
    """
    for each in (*reversed([above for above in folder.parents if not above.exists()]), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def why(error: OSError) -> str:
    """Return in words why something could not be written.

    >>> why(OSError(errno.ENOSPC, "No space left on device")), why(OSError(errno.EACCES, "Permission denied"))
    ('No space left on device: the disk is full', 'Permission denied')
    """
    text = error.strerror or str(error)
    return f"{text}: the disk is full" if error.errno in FULL else text


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in, unless they are there.

    Raises:
        MetaGDError: naming the folder, if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MetaGDError(
            f"{folder}: cannot be made ({why(error)}); free some space, or name a folder that you may write to, and "
            f"{AGAIN}"
        ) from error


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a document, such as a policy; of a file of more than 128 MiB no more than that is read.

    Raises:
        OSError: if it cannot be read, or is larger; ``strerror`` says why.
        UnicodeDecodeError: if it is no such text.
    """
    with path.open("rb") as file:
        content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise OSError(errno.EFBIG, f"larger than {MOST_TEXT >> 20} MiB, which no such document is", str(path))
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")  # as Python reads texts


def write_text(text: str, path: Path) -> None:
    """Write a text to a file, in one piece.

    Raises:
        MetaGDError: naming the path, if it cannot be written; what was there before is unchanged.
    """
    write_texts({path: text})


def write_bytes(content: bytes, path: Path) -> None:
    """Write bytes to a file, in one piece; see ``write_text``."""
    _write({path: content})


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write several files, all or none: they are moved to their places once all of them are complete.

    A disk that runs full or a folder that cannot be written loses nothing that was there before.

    Args:
        texts: path to content, written as UTF-8.

    Raises:
        MetaGDError: naming the path, if one cannot be written.
    """
    # A path that is no valid UTF-8 reaches us as lone surrogates; as escapes they are still valid JSON.
    _write({path: text.encode("utf-8", "backslashreplace") for path, text in texts.items()})


def _write(contents: Mapping[Path, bytes]) -> None:
    staged: list[tuple[Path, Path]] = []
    try:
        for path, content in contents.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            staged.append((_staged(content, path), path))
        for temporary, path in staged:
            temporary.replace(path)
    except OSError as error:
        raise MetaGDError(
            f"{path}: cannot be written ({why(error)}); what was there before is unchanged: free some space, or name a "
            f"place that you may write to, and {AGAIN}"
        ) from error
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


def _staged(content: bytes, path: Path) -> Path:
    """Return a complete file beside ``path``."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; a report is for others too.
        temporary.chmod(0o644)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
