"""What each saving of our search is worth: the search of ``quality`` again, without one of them.

Not part of the whole benchmark. The peer is not run again: every search has to reach the level that the peer reached
from the same seed when ``quality`` was last run into the same results.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import quality
from sides import Side

# What is left out or changed -> options of a search.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "without known schedules": {"known": False},
    "without pruning": {"changes": {"pruning": False}},
    "one seed per trial": {"changes": {"seeds_per_trial": 1}},
    "20 evaluations per run": {"changes": {"evaluations": 20}},
    "8 trials at once": {"changes": {"trials_at_once": 8}},
}


def measure(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Search from every seed in every variant.

    Args:
        earlier: the parts that were measured before, ``quality`` among them.
    """
    if "quality" not in earlier:
        raise SystemExit("the ablation needs the peer's levels: run make bench PARTS=quality first")
    peer = earlier["quality"]
    found: dict[str, Any] = {"search_target": peer["search_target"], "variants": {name: [] for name in VARIANTS}}
    with Side(quality.our_side) as ours:
        for row in peer["seeds"]:
            for name, options in VARIANTS.items():
                search = ours.sample(
                    action="search",
                    seed=row["seed"],
                    search_target=peer["search_target"],
                    level=row["peer"]["confirmed"],
                    **options,
                )
                found["variants"][name].append(search | {"ratio": row["peer"]["seconds"] / search["seconds"]})
                print(
                    f"  seed {row['seed']}, {name}: {search['seconds']:.1f} s, reached {search['reached']}", flush=True
                )
    found["median_ratio"] = {
        name: statistics.median(search["ratio"] for search in searches) for name, searches in found["variants"].items()
    }
    print(f"  {found['median_ratio']}", flush=True)
    return found
