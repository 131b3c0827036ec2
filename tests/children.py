"""Child processes of tests, forked from one process that has loaded all they need and computed nothing."""

import multiprocessing

import distributed.utils

CHILDREN = multiprocessing.get_context("forkserver")
# Modules that are installed: the process that forks does not look in the folder of the tests, and says nothing of it.
CHILDREN.set_forkserver_preload(
    ["metagd_optuna.study", "metagd_optuna.tuning.cluster", "metagd_optuna.training.open_trainer", "distributed"]
)
# Dask would have its own list take the place of this one.
distributed.utils._forkserver_preload_set = True
