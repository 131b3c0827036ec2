"""Getting a catalogue file: the data folder first, then the cache, then the network; always MD5-checked."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_path
from metagd_optuna.tasks.catalogue import CatalogueEntry

DATA_DIR_VARIABLE = "METAGD_DATA_DIR"
CHUNK_BYTES = 1 << 16

Say = Callable[[str], None]


def fetch(
    entry: CatalogueEntry,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    say: Say | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
    time_limit: float = 3600.0,
) -> Path:
    """Return the path of a catalogue file whose MD5 is right, downloading it only if it is nowhere.

    Args:
        entry: a catalogue entry with a file.
        data_dir: folder to look in first; by default the one that METAGD_DATA_DIR names, if any.
        say: called with one line of progress at a time; by default nothing is said.
        cache_dir: folder that downloads go to; by default the user's cache.
        timeout: seconds to wait for a connection, and for every next piece of data.
        time_limit: seconds that the whole download may take.

    Raises:
        MetaGDError: if the data folder does not exist, the file has another MD5, or it cannot be
            downloaded; the text names the file, its address, its folder and the MD5s.
    """
    if entry.file_name is None or entry.url is None or entry.md5 is None:
        raise MetaGDError(f"task {entry.name!r} comes with scikit-learn; there is no file to fetch")
    folders = [folder for folder in (_data_folder(data_dir), _cache_folder(cache_dir)) if folder is not None]
    for folder in folders:
        path = folder / entry.file_name
        if path.exists():
            _refuse_other_md5(path, entry, folder)
            return path
    cache = folders[-1]
    try:
        return _download(entry, cache, folders[0], say or _say_nothing, timeout, time_limit)
    except OSError as error:  # requests' errors are OSErrors, too
        raise MetaGDError(
            f"{entry.file_name} cannot be downloaded from {entry.url} into {cache} ({error}). Without a network, "
            f"get the file elsewhere (MD5 {entry.md5}) and put it in {folders[0]} under that name, or name the "
            f"folder that holds it with --data-dir or {DATA_DIR_VARIABLE}"
        ) from error


def md5_of(path: Path) -> str:
    """Return the MD5 of a file's content as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class SaidProgress:
    """A progress bar in words, with the four methods that pooch calls: a line at every tenth of a file.

    Raises:
        TimeoutError: once the download has taken longer than ``time_limit`` seconds.
    """

    def __init__(self, name: str, say: Say, time_limit: float) -> None:
        self.total = 0
        self._name = name
        self._say = say
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
            self._say(f"{self._name}: {10 * tenths}% of {self.total / 1e6:.1f} MB")

    def reset(self) -> None:
        """Start counting again; pooch does this once at the end, before it reports the whole size."""
        self._done = 0

    def close(self) -> None:
        """Nothing is left open."""


def _download(entry: CatalogueEntry, folder: Path, own: Path, say: Say, timeout: float, time_limit: float) -> Path:
    """Download into ``folder``; ``own`` is where a user who got the file elsewhere should put it."""
    import pooch

    assert entry.file_name is not None
    folder.mkdir(parents=True, exist_ok=True)
    say(f"downloading {entry.file_name} from {entry.url}")
    responses: list[Any] = []
    fetch_http = pooch.HTTPDownloader(
        progressbar=SaidProgress(entry.file_name, say, time_limit),
        chunk_size=CHUNK_BYTES,
        timeout=timeout,
        hooks={"response": lambda response, **_: responses.append(response)},
    )
    # the file gets its name only when it is whole and right, so a killed download leaves nothing to trust
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as unfinished:
        path = Path(unfinished) / entry.file_name
        try:
            fetch_http(entry.url, str(path), None)
        finally:
            for response in responses:  # pooch leaves the connection of a failed download open
                response.close()
        _refuse_other_md5(path, entry, own)
        target = folder / entry.file_name
        path.replace(target)
    say(f"{entry.file_name} is complete: {target}")
    return target


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


def _refuse_other_md5(path: Path, entry: CatalogueEntry, put_in: Path) -> None:
    try:
        found = md5_of(path)
    except OSError as error:
        raise MetaGDError(f"{path}: cannot be read ({error})") from error
    if found != entry.md5:
        # a download lies in a folder that is about to be removed, so its path would help nobody
        kept = path.parent == put_in
        what = str(path) if kept else f"{entry.file_name}, just downloaded from {entry.url} and not kept,"
        raise MetaGDError(
            f"{what} has the MD5 {found}, but {entry.title} has {entry.md5}: it is damaged or another version. "
            f"Get {entry.file_name} {f'from {entry.url}' if kept else 'elsewhere, or try again later,'} "
            f"and put it in {put_in}; or, to use a file of your own, "
            "name it by its path"
        )


def _say_nothing(line: str) -> None:
    del line
