"""Workloads that rules for the learning rate are tried on: networks, tasks and batch sizes that differ."""
