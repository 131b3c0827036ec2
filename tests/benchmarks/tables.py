"""The tables of docs/benchmarks.md, from results: ``python tests/benchmarks/tables.py [results.json]``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Part = Mapping[str, Any]


def main() -> None:
    """Print the table of every part that was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=Path("runs/bench/results.json"))
    parts = json.loads(parser.parse_args().results.read_text())["parts"]
    for name, part in parts.items():
        print(f"## {name} ({part['took_seconds'] / 60:.0f} min)\n\n{TABLES[name](part)}\n")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(samples: Part, digits: str = ",.0f") -> str:
    """Return median (smallest to largest)."""
    return f"{samples['median']:{digits}} ({samples['min']:{digits}} to {samples['max']:{digits}})"


def throughput(part: Part) -> str:
    """Return examples per second of all sides."""
    both = [part["batch_32"], part["batch_128"]]
    sides = {
        "peer: Optuna, `model.fit`, KerasPruningCallback": "peer",
        "ours, one member": "one_member",
        "ours, four members in two lanes": "population",
    }
    rows: list[list[str]] = [[text, *(spread(batch[side]) for batch in both)] for text, side in sides.items()]
    rows.append(["ratio to the peer", *(f"{batch['ratio']:.1f}" for batch in both)])
    rows.append(["fp32 matrix products, GFLOP/s", *(spread(batch["peak_gflops"]) for batch in both)])
    rows.append(["share of it, by what is computed", *(f"{batch['peak_share']:.0%}" for batch in both)])
    rows.append(["share of it, by the network as built", *(f"{batch['model_share']:.0%}" for batch in both)])
    return table(("training examples/s", "batch 32", "batch 128"), rows)


def optimizers(part: Part) -> str:
    """Return examples per second of two optimizers in two places."""
    places = {"the engine, four members": "engine", "`fit`, a validation per epoch": "fit"}
    return table(
        ("training examples/s", "Adam", "ScheduleFreeAdamW", "ratio"),
        [
            (
                text,
                spread(part[f"{place}_adam"]),
                spread(part[f"{place}_schedule_free"]),
                spread(part["ratio"][place], ".2f"),
            )
            for text, place in places.items()
        ],
    )


def batches(part: Part) -> str:
    """Return examples per second by batch size in two places."""
    return table(
        ("batch", "the engine, two members", "of 32", "`fit`, a validation per epoch", "of 32"),
        [
            (
                size.removeprefix("batch_"),
                *(
                    text
                    for place in ("engine", "fit")
                    for text in (spread(part[place][size]), spread(part[place][size]["ratio"], ".2f"))
                ),
            )
            for size in part["engine"]
        ],
    )


def members(part: Part) -> str:
    """Return examples per second by members per program, and their ratio to one member."""
    rows = [
        (
            case.replace("_", " "),
            size.removeprefix("members_"),
            spread(found),
            spread(found["ratio"], ".2f"),
            spread(found["ratio_of_core_seconds"], ".2f"),
        )
        for case, sizes in part.items()
        if isinstance(sizes, dict)
        for size, found in sizes.items()
    ]
    head = ("network", "members per program", "training examples/s", "of 1", "of 1, per second of a core")
    return table(head, rows)


def networks(part: Part) -> str:
    """Return examples per second of ``fit`` and of the engine, and their ratios."""
    rows = [
        (
            name,
            *(spread(found[side]) for side in ("fit", "one", "two")),
            *(spread(found["ratio"][side], ".2f") for side in ("one", "two")),
        )
        for name, found in part["networks"].items()
    ]
    rows.append(("geometric mean", "", "", "", *(f"**{part['ratio'][side]:.2f}**" for side in ("one", "two"))))
    return table(("network", "`fit`", "one member", "two lanes", "one / fit", "two / fit"), rows)


def batch_norm(part: Part) -> str:
    """Return how statistics of more and more images change what is measured."""
    rows = [
        (
            name,
            f"{128 * int(batches)}" if int(batches) else "moving statistics",
            f"{found['first_auc']:.3f}",
            f"{found['last_auc']:.3f}",
            f"{found['auc_difference']:.4f}",
            f"{found['seconds']:.1f}",
        )
        for name, sizes in part["networks"].items()
        for batches, found in sizes.items()
    ]
    head = ("network", "images", "AUC after 1/10", "AUC at the end", "mean difference to the most", "seconds")
    return table(head, rows)


def batch_norm_rates(part: Part) -> str:
    """Return what every rate costs, with either statistics."""
    rows = [
        (name, {"moving": "moving", "anew": "taken anew"}[statistics], *(f"{value:.2f}" for value in times))
        for name, found in part["workloads"].items()
        for statistics, times in found.items()
    ]
    return table(("workload", "statistics", *(f"{rate:g}" for rate in part["rates"])), rows)


def memory(part: Part) -> str:
    """Return growth and peaks."""
    growth = table(
        ("resident memory", "trials", "MB per trial"),
        [(side, part[side]["trials"], f"{part[side]['mb_per_trial']:.3f}") for side in ("ours", "peer")],
    )
    peaks = part["peak_mb_by_population"]
    return growth + "\n\n" + table(("members", *peaks), [("peak, MB", *(f"{peak:.0f}" for peak in peaks.values()))])


def startup(part: Part) -> str:
    """Return starts and compile times."""
    starts = table(
        ("`metagd run` to the end of the first evaluation period", "seconds"),
        [("first use on a device", spread(part["first_use"], ".1f")), ("later", spread(part["later"], ".1f"))],
    )
    sizes = part["compile_by_population"]
    compiling = [("tracing, s", *(f"{times['compile']:.2f}" for times in sizes.values()))]
    return starts + "\n\n" + table(("members", *sizes), compiling)


def reading(part: Part) -> str:
    """Return seconds of every way to read the files."""
    sides = {
        "a plain Pillow loop over processes": "plain_loop",
        "ours, without the cache": "without_cache",
        "ours, the first time": "into_cache",
        "ours, from the cache": "from_cache",
    }
    rows = [
        (name, spread(part[side], ".1f"), f"{part[side]['ratio']:.2f}" if "ratio" in part[side] else "")
        for name, side in sides.items()
    ]
    return table(("10,000 PNG files of 224 x 224", "seconds", "times the plain loop"), rows)


def overhead(part: Part) -> str:
    """Return shares of the wall-clock."""
    rows = [
        (task, members, *(f"{shares[kind]:.1%}" for kind in ("training", "evaluation", "other")))
        for task, found in part.items()
        if isinstance(found, dict)
        for members, shares in found.items()
    ]
    return table(("task", "trials at once", "training", "evaluation", "other"), rows)


def quality(part: Part) -> str:
    """Return the searches by seed."""
    rows = []
    for row in part["seeds"]:
        search = row["ours"]
        best = min(search["bests"], key=lambda found: found["confirmed"])
        reached = f"{search['seconds']:.1f} s, {best['trials']} trials" if search["reached"] else "not in 64 trials"
        rows.append(
            (
                row["seed"],
                f"{row['peer']['seconds']:.0f} s",
                f"{row['peer']['confirmed']:.3f}",
                reached,
                f"{best['confirmed']:.3f}",
                f"{row['ratio']:.1f}",
                f"{row['ratio_with_calibration']:.1f}",
            )
        )
    rows.append(
        (
            "median",
            "",
            "",
            "",
            "",
            f"**{part['ratio']['median']:.1f}**",
            f"{part['ratio_with_calibration']['median']:.1f}",
        )
    )
    head = ("seed", "peer", "its best, epochs", "ours", "our best, epochs", "ratio", "with our calibration")
    return table(head, rows)


def ablation(part: Part) -> str:
    """Return what every saving is worth."""
    rows = [
        (
            name,
            f"{part['median_ratio'][name]:.1f}",
            ", ".join(f"{search['seconds']:.0f}{'' if search['reached'] else '*'}" for search in searches),
        )
        for name, searches in part["variants"].items()
    ]
    return table(("search", "median ratio", "seconds by seed (* not reached in 64 trials)"), rows)


def samplers(part: Part) -> str:
    """Return ratios to the first sampler, and how well surrogates order held-out trials."""
    cases = part["searches"]
    names = list(dict.fromkeys(name for case in cases.values() for name in case["ratios"]))
    rows = [[name, *(_against(case["ratios"].get(name)) for case in cases.values())] for name in names]
    surrogates = [
        (name, row["model"], f"{row['correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
        for name, row in part["surrogates"].items()
    ]
    return (
        table(("sampler", *cases), rows)
        + "\n\n"
        + table(("recorded trials", "surrogate", "rank correlation"), surrogates)
    )


def _against(row: Part | None) -> str:
    if row is None:
        return ""
    return f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f}), {row['wins']} of {row['wins'] + row['losses']}"


def asks(part: Part) -> str:
    """Return what a trial costs by the number of trials before it, and what a batch of four spends its time on."""
    counts = [name for name, found in part.items() if isinstance(found, dict)]
    rows: list[list[str]] = []
    for at_once in ("4 at once", "64 at once"):
        for clock, text in (("cpu", "CPU seconds"), ("wall", "seconds")):
            found = [part[count][at_once][clock] for count in counts]
            rows += [
                [f"{what}, {at_once}, {text}", *(f"{each[what]['median']:.3f}" for each in found)]
                for what in ("ask", "tell", "trial")
            ]
    rows.append(["opening the study, s", *(f"{part[count]['4 at once']['opening']:.1f}" for count in counts)])
    costs = table(("medians", *(f"{int(count):,} before" for count in counts)), rows)
    profiles = [part[count]["profile"] for count in counts]
    within = [[what, *(f"{each[what]:.3f}" for each in profiles)] for what in profiles[0]]
    return (
        costs + "\n\n" + table(("profiled, seconds per trial", *(f"{int(each):,} before" for each in counts)), within)
    )


def soak(part: Part) -> str:
    """Return what the searches held, at every tenth of their trials."""
    tables = []
    for kind, found in part.items():
        if isinstance(found, dict):
            seen = found["seen"]
            rows = [
                [
                    f"{each['trials']:,}",
                    *(f"{each[what]:,.0f}" for what in ("resident", "descriptors", "threads", "database")),
                ]
                for each in seen[:: max(1, len(seen) // 10)]
            ]
            head = (f"trials, {kind}", "resident, MB", "descriptors", "threads", "database, MB")
            tables.append(table(head, rows) + f"\n\nGrowth: {found['mb_per_trial']:.3f} MB per trial.")
    return "\n\n".join(tables)


def cluster(part: Part) -> str:
    """Return the efficiency of workers, and what a job costs the coordinator."""
    rows = [
        [
            str(each["workers"]),
            f"{each['seconds_per_training']:g}",
            str(each["jobs"]),
            f"{each['wall_seconds']:.1f}",
            f"{each['efficiency']:.0%}",
            f"{each['coordinator_cpu_per_job']:.3f}",
        ]
        for each in part["sleeping"]
    ]
    head = ("workers", "s per training", "trainings", "wall-clock, s", "efficiency", "coordinator, CPU s per training")
    saturated = part["jobs_at_once_that_saturate_the_coordinator"]
    more = [
        ["share of the coordinator at 64 trainings of 300 s", f"{part['coordinator_share_at_64_jobs_of_300_s']:.1%}"],
        *([f"trainings of {name} at once that saturate it", f"{count:,.0f}"] for name, count in saturated.items()),
        *([f"bytes: {name.replace('_', ' ')}", f"{size:,}"] for name, size in part["bytes"].items()),
        *([f"a real study, {name} workers, s", f"{took:.0f}"] for name, took in part["real_study_seconds"].items()),
    ]
    return table(head, rows) + "\n\n" + table(("figure", "value"), more)


def probes(part: Part) -> str:
    """Return what probes cost a training."""
    rows = [
        [
            kind,
            name,
            spread(each["share"], ".1%"),
            f"{each['first']['probes']:.2f} of {each['first']['seconds']:.1f}",
        ]
        for kind in ("engine", "fit")
        for name, each in part[kind].items()
    ]
    return table(["in", "network", "share of the training", "the first time, s"], rows)


TABLES = {
    "throughput": throughput,
    "optimizers": optimizers,
    "batches": batches,
    "members": members,
    "networks": networks,
    "batch_norm": batch_norm,
    "batch_norm_rates": batch_norm_rates,
    "memory": memory,
    "startup": startup,
    "reading": reading,
    "overhead": overhead,
    "quality": quality,
    "samplers": samplers,
    "ablation": ablation,
    "asks": asks,
    "soak": soak,
    "cluster": cluster,
    "probes": probes,
}

if __name__ == "__main__":
    main()
