"""docs/method.md, from counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pools import Pool
from resample import Design
from scipy.stats import beta

TEMPLATE = Path(__file__).parent / "template.md"


def document(
    pools: Sequence[Pool],
    false: Mapping[Design, Mapping[str, int]],
    aa_studies: int,
    speedups: Sequence[float],
    power: Mapping[tuple[str, int], Sequence[float]],
    power_studies: int,
) -> str:
    """Return the document.

    Args:
        false: for every design, how many of ``aa_studies`` reports hold a false claim: ``faster``, ``slower``, ``any``.
        power: for every task and number of seeds, the share of ``power_studies`` that say faster, by ``speedups``.
    """
    return TEMPLATE.read_text(encoding="utf-8").format(
        tasks=len(pools),
        aa_studies=aa_studies,
        power_studies=power_studies,
        recorded=_table(
            ("recorded task", "runs", "evaluations", "budget in epochs"),
            [(pool.task, pool.runs, len(pool.epochs), f"{pool.budget:.3g}") for pool in pools],
        ),
        false=_table(
            (
                "baselines to choose from",
                "confirmation seeds",
                "false *faster*",
                "false *slower*",
                "any",
                "lower bound",
                "upper bound",
            ),
            [
                (
                    design.baselines,
                    design.seeds,
                    *(f"{found[kind] / aa_studies:.2%}" for kind in ("faster", "slower", "any")),
                    *(f"{bound(found['any'], aa_studies):.2%}" for bound in (lower_bound, upper_bound)),
                )
                for design, found in false.items()
            ],
        ),
        power=_table(
            ("task", "seeds", *(f"{speedup:g}" for speedup in speedups)),
            [(task, seeds, *(f"{share:.0%}" for share in shares)) for (task, seeds), shares in power.items()],
        ),
    )


def lower_bound(hits: int, trials: int) -> float:
    """Return the one-sided lower 95% bound of a rate (Clopper and Pearson 1934)."""
    return float(beta.ppf(0.05, hits, trials - hits + 1)) if hits else 0.0


def upper_bound(hits: int, trials: int) -> float:
    """Return the one-sided upper 95% bound of a rate (Clopper and Pearson 1934)."""
    return float(beta.ppf(0.95, hits + 1, trials - hits)) if hits < trials else 1.0


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
