"""A study's network from code: a function of a module, named in the study file as ``package.module:function``."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.models import did_you_mean
from metagd_optuna.training.network import BuildNetwork


def import_network(name: str, *, folder: Path, allow_code: bool) -> BuildNetwork:
    """Return the function that a study file names.

    A study file may come from somebody else, so what it names is only run if it is in a package that is installed, or
    if the user says that code may be run; then modules in the study file's folder are found as well.

    Args:
        name: ``package.module:function``.
        folder: that of the study file.
        allow_code: whether modules that are not installed may be imported.

    Raises:
        MetaGDError: if there is no such module or function, or it may not be run.
    """
    module_name, _, function_name = name.partition(":")
    top = module_name.partition(".")[0]
    if not allow_code and not _is_installed(top, folder):
        raise MetaGDError(
            f"network {as_given(name)}: the module {as_given(top)} is in no installed package, and a study file may "
            "not run other code; if you trust it, give --allow-code (in Python allow_code=True)"
        )
    with _found_beside(folder if allow_code else None):
        _forget_another(top, folder if allow_code else None)
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # importing runs code, which may raise anything
            raise MetaGDError(f"network {as_given(name)}: {module_name} cannot be imported: {_said(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [other for other in vars(module) if callable(getattr(module, other)) and not other.startswith("_")]
        raise MetaGDError(
            f"network {as_given(name)}: {module_name} has no function {as_given(function_name)}"
            f"{did_you_mean(function_name, known)}"
        )

    def build(input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        try:
            with _found_beside(folder if allow_code else None):
                model = function(input_shape, classes, seed=seed)
        except (Exception, SystemExit) as error:
            raise MetaGDError(
                f"network {as_given(name)}: called with {input_shape}, {classes}, seed={seed} it raised {_said(error)}"
            ) from error
        if not isinstance(model, keras.Model):
            raise MetaGDError(f"network {as_given(name)} returned {as_given(model)}; it has to return a keras.Model")
        return model

    return build


def _is_installed(top: str, folder: Path) -> bool:
    """Return whether what would be imported under a name is that of a package that was installed on purpose."""
    if top in sys.stdlib_module_names or top not in importlib.metadata.packages_distributions():
        return False
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [spec.origin] if spec and spec.origin else list(spec.submodule_search_locations or ()) if spec else []
    paths = [Path(place).resolve() for place in places]
    installed = [Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")]
    # A file beside the study, or in the folder that one is in, may hide an installed package of its name.
    hidden = [found.resolve() for found in (folder, Path.cwd())]
    return bool(paths) and all(
        any(path.is_relative_to(place) for place in installed) or not any(path.is_relative_to(own) for own in hidden)
        for path in paths
    )


@contextmanager
def _found_beside(folder: Path | None) -> Iterator[None]:
    """Find modules of a folder while it lasts."""
    if folder is None:
        yield
        return
    place = str(folder.resolve())
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(place)


def _forget_another(top: str, folder: Path | None) -> None:
    """Forget a module that was imported from another study's folder under the name of one in this folder."""
    spec = importlib.machinery.PathFinder.find_spec(top, [str(folder.resolve())]) if folder else None
    loaded = sys.modules.get(top)
    if spec is None or loaded is None or getattr(loaded, "__file__", None) == spec.origin:
        return
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]


def _said(error: BaseException) -> str:
    """Return an error in a line, with the place where it was raised."""
    last: Any = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {shortened(str(error))} ({shortened(last.filename)}, line {last.lineno})"
