"""What stands at the top of the results."""

from __future__ import annotations

from typing import Any

PARTS = (
    "throughput",
    "optimizers",
    "batches",
    "members",
    "networks",
    "batch_norm",
    "memory",
    "startup",
    "reading",
    "overhead",
    "quality",
    "samplers",
)
# The first needs the results of others, the second the sets of the suite, and the others take long.
ON_REQUEST = ("ablation", "batch_norm_rates", "asks", "soak", "cluster", "probes")


def headlines(parts: dict[str, Any]) -> dict[str, float]:
    """Return the figures that stand at the top, as far as their parts were run."""
    found = {}
    if "throughput" in parts:
        found["throughput_ratio"] = parts["throughput"]["batch_32"]["ratio"]
        found["peak_share"] = parts["throughput"]["batch_32"]["peak_share"]
    if "quality" in parts:
        found["time_to_quality_ratio"] = parts["quality"]["ratio"]["median"]
    if "memory" in parts:
        found["memory_mb_per_trial"] = parts["memory"]["ours"]["mb_per_trial"]
    return found
