"""Find or download a file of the catalogue: data folder, cache, network; its MD5 is always checked."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import AGAIN, FULL, make_private_folder, why
from metagd_optuna.given import as_path
from metagd_optuna.tasks.catalogue import CatalogueEntry

DATA_DIR_VARIABLE = "METAGD_DATA_DIR"
CHUNK_BYTES = 1 << 16

Log = Callable[[str], None]


def fetch(
    entry: CatalogueEntry,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    log: Log | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
    time_limit: float = 3600.0,
) -> Path:
    """Return the path of a catalogue file with the right MD5; download it if it is not on this machine.

    Args:
        entry: a catalogue entry with a file.
        data_dir: folder to look in first; by default the one that METAGD_DATA_DIR names, if any.
        log: called with one line of progress at a time; by default progress is not logged.
        cache_dir: folder that downloads go to; by default the user's cache.
        timeout: seconds to wait for a connection, and for every next piece of data.
        time_limit: seconds that the whole download may take.

    Raises:
        MetaGDError: if the data folder does not exist, the file has another MD5, or it cannot be
            downloaded; the text names the file, its address, its folder and the MD5s.
    """
    if entry.file_name is None or entry.url is None or entry.md5 is None:
        raise MetaGDError(f"task {entry.name!r} comes with {entry.package}; there is no file to fetch")
    folders = [folder for folder in (_data_folder(data_dir), _cache_folder(cache_dir)) if folder is not None]
    for folder in folders:
        path = folder / entry.file_name
        if path.exists():
            _refuse_other_md5(path, entry)
            return path
    try:
        return _download(entry, folders[-1], log or _log_nothing, timeout, time_limit)
    # requests' errors are OSErrors; pooch's of another MD5 is a ValueError that names both.
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise MetaGDError(
                f"{folders[-1] / entry.file_name}: cannot be downloaded ({why(error)}); free some space, and {AGAIN}"
            ) from error
        raise MetaGDError(
            f"{entry.file_name} cannot be downloaded from {entry.url} into {folders[-1]} ({error}). Try again later, "
            f"or get the file elsewhere (MD5 {entry.md5}) and put it in {folders[0]} under that name, or name the "
            f"folder that holds it with --data-dir or {DATA_DIR_VARIABLE}"
        ) from error


def md5_of(path: Path) -> str:
    """Return the MD5 of a file's content as 32 hexadecimal digits."""
    with path.open("rb") as file:  # pooch's own file_hash would load requests for every file that is read
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class LoggedProgress:
    """A progress bar for pooch that logs one line for every tenth of a file.

    Raises:
        TimeoutError: once the download has taken longer than ``time_limit`` seconds.
    """

    def __init__(self, name: str, log: Log, time_limit: float) -> None:
        self.total = 0
        self._name = name
        self._log = log
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit
        self._done = 0
        self._tenths = 0

    def update(self, size: int) -> None:
        """Count ``size`` more bytes."""
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"not finished within {self._time_limit:g} s; {self._done / 1e6:.1f} MB had arrived")
        self._done += size
        tenths = min(10 * self._done // self.total, 10) if self.total else 0
        if tenths > self._tenths:
            self._tenths = tenths
            self._log(f"{self._name}: {10 * tenths}% of {self.total / 1e6:.1f} MB")

    def reset(self) -> None:
        """Start counting again; pooch does this once at the end, before it reports the whole size."""
        self._done = 0

    def close(self) -> None:
        """Nothing is left open."""


def _download(entry: CatalogueEntry, folder: Path, log: Log, timeout: float, time_limit: float) -> Path:
    import pooch

    assert entry.file_name is not None
    log(f"downloading {entry.file_name} from {entry.url}")
    with ExitStack() as stack:
        logger = pooch.get_logger()
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.WARNING)  # it would print the download to standard error, unasked
        downloader = pooch.HTTPDownloader(
            progressbar=LoggedProgress(entry.file_name, log, time_limit),
            chunk_size=CHUNK_BYTES,
            timeout=timeout,
            # pooch leaves the connection of a failed download open
            hooks={"response": lambda response, **_: stack.push(response)},
        )
        # The file gets its name only when it is whole and right, so a killed download leaves nothing to trust.
        make_private_folder(folder)
        pooch.retrieve(entry.url, f"md5:{entry.md5}", entry.file_name, folder, downloader=downloader)
    log(f"{entry.file_name} is complete: {folder / entry.file_name}")
    return folder / entry.file_name


def _data_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    given_by = "--data-dir (data_dir)" if data_dir is not None else DATA_DIR_VARIABLE
    folder = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    if folder is None or (isinstance(folder, str) and not folder):
        return None
    path = as_path(folder, given_by, home=True)
    if not path.is_dir():
        raise MetaGDError(f"{given_by} names the folder {path}, which does not exist; name one that holds the files")
    return path


def _cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return as_path(cache_dir, "cache_dir", home=True)
    import pooch

    return Path(pooch.os_cache("metagd_optuna"))


def _refuse_other_md5(path: Path, entry: CatalogueEntry) -> None:
    # Not pooch's check, which would replace a file that a user may want to keep.
    try:
        found = md5_of(path)
    except OSError as error:
        raise MetaGDError(f"{path}: cannot be read ({error})") from error
    if found != entry.md5:
        raise MetaGDError(
            f"{path} has the MD5 {found}, but {entry.title} has {entry.md5}: it is damaged or another version. Get "
            f"{entry.file_name} from {entry.url} and put it in {path.parent}; or, to use a file of your own, name it "
            "by its path"
        )


def _log_nothing(line: str) -> None:
    del line
