"""One of several processes that optimise one study: start as many as you have devices, anywhere, with the same file.

Make the study once, before the first of them: optuna create-study --study-name rates --skip-if-exists
Both read the address of the database, postgresql://USER:PASSWORD@HOST/DATABASE, from OPTUNA_STORAGE.
"""

import os

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback

from metagd_optuna import MetaPolicyObjective, ResumableTPESampler


def optimize(storage_url, objective, trials):
    """Take part in the study until it has as many complete trials."""
    storage = RDBStorage(
        storage_url,
        engine_kwargs={"pool_pre_ping": True},  # the database may restart
        heartbeat_interval=60,  # seconds
        grace_period=600,  # well above: a busy process beats late, and its trial would fail under its hands
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
    )
    study = optuna.load_study(
        study_name="rates",
        storage=storage,
        sampler=ResumableTPESampler(seed=0),  # the same seed everywhere: the trial's number is part of it
        pruner=optuna.pruners.NopPruner(),
    )
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials)])


if __name__ == "__main__":
    optimize(
        os.environ["OPTUNA_STORAGE"],
        MetaPolicyObjective("breast_cancer", prefix="rate.", target=0.97),
        trials=200,
    )
