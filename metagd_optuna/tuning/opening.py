"""What a study trains, opened by its settings: the data of a task, and the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, load_task
from metagd_optuna.tuning.settings import ARTICLE_CNN, HEAD, StudySpec

if TYPE_CHECKING:
    from metagd_optuna.training.network import BuildNetwork


def load_study_task(spec: StudySpec, name: str, data_dir: str | Path | None, log: Callable[[str], None]) -> Task:
    """Return a task of a study, read as its settings say.

    Raises:
        MetaGDError: as ``load_task``.
    """
    return load_task(
        spec.task_locations[name],
        name=name,
        **spec.task_options[name],
        data_dir=data_dir,
        max_train=spec.max_train or None,
        max_eval=spec.max_eval or None,
        drop_duplicates=spec.drop_duplicates,
        drop_contradictions=spec.drop_contradictions,
        log=log,
    )


def study_network(spec: StudySpec, given: BuildNetwork | None, *, allow_code: bool) -> tuple[BuildNetwork, str]:
    """Return what builds the study's network, and its name.

    Args:
        spec: the study's settings.
        given: trained instead of the network that the study file names; None for that one.
        allow_code: whether a function that the study file names may be run if it is in no installed package.

    Raises:
        MetaGDError: if the network cannot be read or imported, or both name one.
    """
    from metagd_optuna.training.default_network import default_network
    from metagd_optuna.training.imported_network import import_network
    from metagd_optuna.training.saved_network import read_network
    from metagd_optuna.training.transfer import head_on

    if given is not None:
        if spec.network != ARTICLE_CNN:
            raise MetaGDError(
                f"{spec.source}: key 'network' names {spec.network!r}, and build_network= is given too; leave one out"
            )
        return given, getattr(given, "__qualname__", type(given).__qualname__)
    if spec.network_is_code:
        return import_network(spec.network, folder=spec.folder, allow_code=allow_code), spec.network
    file = spec.network_file
    if file is None:
        return default_network, spec.network
    if spec.trainable == HEAD:
        return head_on(file), f"a head on {file.name}"
    return read_network(file), file.name
