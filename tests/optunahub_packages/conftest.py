"""Packages of docs/optunahub, loaded as OptunaHub loads them, where nothing can reach a network."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

REGISTRY = Path(__file__).parents[2] / "docs" / "optunahub" / "package"

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Whatever asks for a network fails, already while optunahub is imported."""

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"a network was asked for: {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="session")
def load(_no_network: None) -> Load:
    """What loads a package of this repository by its category and name."""
    os.environ.setdefault(
        "GIT_PYTHON_REFRESH", "quiet"
    )  # GitPython wants a git program, which loading here never calls
    import optunahub

    return lambda package: optunahub.load_local_module(package, registry_root=str(REGISTRY))
