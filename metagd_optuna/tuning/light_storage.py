"""The storage of a search, which reads all trials again and again but never what was measured at every step of one."""

from __future__ import annotations

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial

from metagd_optuna.tuning.parts import PHASES
from metagd_optuna.tuning.stored_trials import without_steps


class _LightStorage(_CachedStorage):
    """What Optuna puts around a database to keep finished trials, which here keeps less of each."""

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        super()._add_trials_to_cache(study_id, [without_steps(trial) for trial in trials])


def storage_of(part: str, storage: BaseStorage) -> BaseStorage:
    """Return the storage to read a part of a study from.

    The phases go on with the runs that they find there, so theirs is the one that is given; so is any that holds all
    trials in memory itself.
    """
    searched = not part.startswith(PHASES)
    return _LightStorage(storage) if searched and isinstance(storage, RDBStorage) else storage
