"""Child processes of tests, forked from one process that has loaded all they need and computed nothing."""

import multiprocessing

import distributed.utils

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["metagd_optuna.study", "metagd_optuna.training.open_trainer", "made_up_cluster"])
# Dask would have its own list take the place of this one.
distributed.utils._forkserver_preload_set = True
