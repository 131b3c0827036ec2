"""Runs as a small picture: the learning rate, and beside it the validation score, over the epochs.

SVG, because a page of optuna-dashboard shows files but draws no figure for a trial, and plotly cannot write a picture
without a browser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from metagd_optuna.contracts import FloatArray, RunRecord

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b616b", "#000000")
# Shared by all runs of a picture, so that one of a whole confirmation stays small too.
RATES_DRAWN = 200
WIDTH, HEIGHT = 820, 300
TOP, BOTTOM = 34, 236
PANELS = ((62, 390), (476, 804))

Line = tuple[FloatArray, FloatArray]


class _Axis(NamedTuple):
    """A stretch of numbers on a stretch of the picture, with the numbers that are written beside it."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, values: FloatArray) -> FloatArray:
        """Return where the values lie in the picture."""
        low, high = (math.log10(end) if self.log else end for end in (self.low, self.high))
        at = np.log10(values) if self.log else values
        placed: FloatArray = self.start + (at - low) / (high - low) * (self.end - self.start)
        return placed


def run_picture(runs: Mapping[str, Sequence[RunRecord]], metric: str, steps_per_epoch: float) -> str:
    """Return runs as an SVG picture.

    Args:
        runs: what the legend calls them, to the runs that share a colour.
        metric: name of the validation score.
        steps_per_epoch: of the task.

    Raises:
        ValueError: if there is no run.
    """
    everyone = [run for group in runs.values() for run in group]
    drawn = max(16, RATES_DRAWN // len(everyone))
    rates = {name: [_rates(run, drawn, steps_per_epoch) for run in group] for name, group in runs.items()}
    scores = {name: [_scores(run, metric, steps_per_epoch) for run in group] for name, group in runs.items()}
    end = max(run.budget for run in everyone) / steps_per_epoch
    body = [
        *_panel(rates, PANELS[0], end, "learning rate", log=True),
        *_panel(scores, PANELS[1], end, f"validation {metric}", log=False),
        *_legend(list(runs)),
    ]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    ground = '<rect width="100%" height="100%" fill="white"/>'  # a dashboard may be dark
    font = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>{ground}{"".join(body)}</svg>\n'


def _rates(run: RunRecord, most: int, steps_per_epoch: float) -> Line:
    rates = np.asarray(run.rates, dtype=np.float64)
    at = np.unique(np.linspace(0, max(rates.size - 1, 0), most).astype(int))[: rates.size]
    shown = at[rates[at] > 0]  # the axis is logarithmic
    ends = np.append(shown, shown[-1:] + 1)  # a rate holds until the end of its step
    return ends / steps_per_epoch, rates[np.append(shown, shown[-1:])]


def _scores(run: RunRecord, metric: str, steps_per_epoch: float) -> Line:
    scores = np.asarray(run.validation.metric(metric), dtype=np.float64)
    return np.asarray(run.validation.steps, dtype=np.float64) / steps_per_epoch, scores


def _panel(
    lines: Mapping[str, Sequence[Line]], place: tuple[int, int], end: float, title: str, *, log: bool
) -> list[str]:
    """Return one pair of axes with its lines."""
    left, right = place
    values = np.concatenate([y for group in lines.values() for _, y in group])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.1, 1.0)
    across = _Axis(0.0, end, left, right, _round_ticks(0.0, end))
    if log:
        low, high = low / 1.3, high * 1.3
        up = _Axis(low, high, BOTTOM, TOP, _log_ticks(low, high), log=True)
    else:
        margin = max(0.02, 0.05 * (high - low))
        low, high = low - margin, high + margin
        up = _Axis(low, high, BOTTOM, TOP, _round_ticks(low, high))
    parts = [f'<text x="{left}" y="20" font-size="13">{escape(title)}</text>']
    for tick, y in zip(up.ticks, up.place(np.asarray(up.ticks)), strict=True):
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#e1e5ea"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#5b616b">{tick:.4g}</text>')
    for tick, x in zip(across.ticks, across.place(np.asarray(across.ticks)), strict=True):
        parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle" fill="#5b616b">{tick:.4g}</text>')
    parts.append(f'<path d="M{left} {TOP}V{BOTTOM}H{right}" stroke="#5b616b" fill="none"/>')
    parts.append(f'<text x="{right}" y="{BOTTOM + 32}" text-anchor="end" fill="#5b616b">epochs</text>')
    for group, colour in zip(lines.values(), _colours(len(lines)), strict=True):
        style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-opacity="{0.9 if len(group) == 1 else 0.45}"'
        for x, y in group:
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across.place(x), up.place(y), strict=True))
            parts.append(f'<polyline points="{points}" {style}/>')
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], float(PANELS[0][0])
    for name, colour in zip(names, _colours(len(names)), strict=True):
        parts.append(f'<path d="M{x:.0f} {HEIGHT - 14}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 23:.0f}" y="{HEIGHT - 10}">{escape(name)}</text>')
        x += 46 + 7 * len(name)
    return parts


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]


def _round_ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers between two.

    >>> _round_ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / 5
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two, powers of ten alone where they are far apart.

    >>> _log_ticks(0.0005, 0.02)
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, len(powers) // 6)
    factors = (1, 2, 5) if high / low <= 100 else (1,)
    ticks = [float(f"{factor}e{power}") for power in powers if power % every == 0 for factor in factors]
    return [tick for tick in ticks if low <= tick <= high] or [float(f"{math.sqrt(low * high):.3g}")]
