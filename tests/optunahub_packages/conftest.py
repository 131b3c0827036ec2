"""Packages of docs/optunahub, loaded as OptunaHub loads them, where nothing can reach a network."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

REGISTRY = Path(__file__).parents[2] / "docs" / "optunahub" / "package"

Load = Callable[[str], ModuleType]


@contextmanager
def without_network() -> Iterator[None]:
    """Whatever asks for a network fails."""

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"a network was asked for: {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    with without_network():
        yield


@pytest.fixture(scope="session")
def load() -> Load:
    """What loads a package of this repository by its category and name."""
    # GitPython wants a git program, which loading here never calls.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with without_network():
        import optunahub

    return lambda package: optunahub.load_local_module(package, registry_root=str(REGISTRY))
