"""Rates that a probe of the coming step tells: on the scale of the network that trains, whatever that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metagd_optuna.contracts import TRIALS, Probe

# The coming step is probed after 2, 4, 8 ... steps and no others: a longer training has the same ones at first.
FIRST_PROBE = 2
# Neighbouring trial rates differ by this factor.
SPACING = 4.0


def next_probe(step: int) -> int:
    """Return the first step after ``step`` behind which there may be a probe: a power of 2, from 2 on.

    >>> [next_probe(step) for step in (0, 2, 3, 4, 64)]
    [2, 4, 4, 8, 128]
    """
    found = FIRST_PROBE
    while found <= step:
        found *= 2
    return found


def probe_steps(count: int) -> tuple[int, ...]:
    """Return the steps behind which there are so many probes.

    >>> probe_steps(3)
    (2, 4, 8)
    """
    return tuple(FIRST_PROBE * 2**place for place in range(count))


def with_probes(update_steps: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the steps of all rate updates of a training, those behind its probes among them.

    Args:
        update_steps: of the other rate updates; the last is the end of the training.
        count: of probes.

    >>> with_probes((3, 6, 9), 2), with_probes((3, 6, 9), 0)
    ((2, 3, 4, 6, 9), (3, 6, 9))
    """
    return tuple(sorted({*update_steps, *(step for step in probe_steps(count) if step < update_steps[-1])}))


def trial_rates(centre: float) -> tuple[float, ...]:
    """Return the rates that a probe tries around one that is expected.

    >>> trial_rates(0.016)
    (0.001, 0.004, 0.016, 0.064, 0.256)
    """
    return tuple(centre * SPACING ** (place - TRIALS // 2) for place in range(TRIALS))


def critical_rate(probe: Probe) -> float:
    r"""Return the smallest rate whose step gains nothing: L(rate) = L(0), within four times the rates that were tried.

    Between two of them, L is taken to go straight in the logarithm of the rate. Below the smallest it is a parabola
    through L(0), its slope and L there. If every step gains, it is four times the largest.

    Source: Kalra and Barkeshli 2024, arXiv 2406.09405, section 3, where the step is along the gradient.

    >>> probe = Probe(1.0, (0.01, 0.1, 1.0), (0.9, 0.8, 1.2), 1.0, 1.0, 10.0, 1.0, 0.0)
    >>> round(critical_rate(probe), 4)
    0.3162
    """
    if probe.rates[-1] <= 0:  # a rule that is not bounded may have stood still
        return 0.0
    below, gain = None, 0.0
    for rate, loss in zip(probe.rates, probe.losses, strict=True):
        change = loss - probe.loss
        if change >= 0:
            if below is None:
                return max(2 * newton_rate(probe), rate / SPACING)
            share = gain / (gain + change) if math.isfinite(change) else 0.0
            return float(below * (rate / below) ** share)
        below, gain = rate, -change
    return probe.rates[-1] * SPACING


def newton_rate(probe: Probe) -> float:
    r"""Return the rate of the lowest loss by a parabola along the step, through L(0), its slope s and L at a rate.

    .. math:: \eta = s / h, \quad h = 2 (L(\eta_1) - L(0) + s \eta_1) / \eta_1^2

    The rate is the largest that was tried and still gains, or else the smallest. Where the parabola is open below, the
    rate itself is returned.

    Source: the quotient of slope and curvature along the step of Roulet et al. 2024 (CDAT), arXiv 2407.06183.
    """
    at = [(rate, loss) for rate, loss in zip(probe.rates, probe.losses, strict=True) if loss < probe.loss]
    rate, loss = at[-1] if at else (probe.rates[0], probe.losses[0])
    bend = loss - probe.loss + probe.slope * rate
    if not math.isfinite(bend):
        return 0.0
    return rate if bend <= 0 else max(probe.slope * rate * rate / (2 * bend), 0.0)


def polyak_rate(probe: Probe) -> float:
    """Return the rate at which a straight line along the step would end at a loss of 0: L(0) / s; NaN if it rises.

    Source: Polyak 1987, *Introduction to Optimization*, section 5.3.2, with the optimizer's direction for the gradient,
    as Schaipp et al. 2023 (MoMo-Adam), arXiv 2305.07583.
    """
    return probe.loss / probe.slope if probe.slope > 0 else math.nan


def armijo_rate(probe: Probe) -> float:
    """Return the largest rate that was tried whose step gains 0.3 of what a straight line promises.

    It is four times smaller than all if none does.

    Source: the condition of Vaswani et al. 2019, arXiv 1905.09997, with the constant of SaLSa, arXiv 2407.20650.
    """
    kept = [
        rate
        for rate, loss in zip(probe.rates, probe.losses, strict=True)
        if loss <= probe.loss - 0.3 * probe.slope * rate
    ]
    return kept[-1] if kept and probe.slope > 0 else probe.rates[0] / SPACING


def best_rate(probe: Probe) -> float:
    """Return the rate of the lowest loss of those that were tried; four times smaller than all if none gains."""
    loss, rate = min(zip(probe.losses, probe.rates, strict=True))
    return rate if loss < probe.loss else probe.rates[0] / SPACING


def ngn_rate(probe: Probe) -> float:
    r"""Return the rate of NGN, which is below the expected rate, and below twice Polyak's.

    .. math:: \eta = 1 / (1 / \sigma + s / (2 L(0)))

    The expected rate sigma is the middle one of those that were tried, s the slope.

    Source: Orvieto and Xiao 2024, arXiv 2407.04358, with the slope along the optimizer's step for the squared length of
    the gradient.
    """
    expected = probe.rates[TRIALS // 2]
    if probe.loss <= 0 or expected <= 0:  # a rule that is not bounded may have stood still
        return 0.0
    return 1 / (1 / expected + max(probe.slope, 0.0) / (2 * probe.loss))


def dog_rate(probe: Probe) -> float:
    """Return the rate whose step is as long as the way from the start; NaN where the optimizer would not move.

    The way is of the order of the rates so far, so this tells less of the network than of how often steps went one way.

    Source: the quotient of Ivgi, Hinder and Carmon 2023 (DoG), arXiv 2302.12022, without its maximum over the past, and
    with the length of a single step for the root of the sum of all squared gradients.
    """
    return probe.distance / probe.direction if probe.direction > 0 else math.nan


def normalised_rate(probe: Probe) -> float:
    """Return the rate whose step along the gradient has length 1: one over its length; NaN where it has none."""
    return 1 / probe.gradient if probe.gradient > 0 else math.nan


def unit_rate(probe: Probe) -> float:
    """Return the rate whose step has length 1; NaN where the optimizer would not move."""
    return 1 / probe.direction if probe.direction > 0 else math.nan


@dataclass(frozen=True, slots=True)
class ProbedRate:
    """A rate that a probe tells.

    Args:
        function: a probe -> the rate; NaN where it tells none.
        usual: its geometric mean over the workloads of the suite's exploring half, with ScheduleFreeAdamW (r = 1) at
            the constant 0.0025, by the mean of three probes.
        text: what it is, in words.
        as_tried: whether it is on the scale of the rates that were tried, so that it is held near to them.
    """

    function: Callable[[Probe], float]
    usual: float
    text: str
    as_tried: bool = True


PROBED_RATES: Mapping[str, ProbedRate] = {
    "critical": ProbedRate(critical_rate, 0.019, "the smallest rate whose step gains nothing"),
    "newton": ProbedRate(newton_rate, 0.0098, "the rate of the lowest loss, by a parabola along the step"),
    "polyak": ProbedRate(
        polyak_rate, 0.015, "the rate at which a straight line along the step would end at a loss of 0"
    ),
    "armijo": ProbedRate(armijo_rate, 0.0046, "the largest rate whose step gains 0.3 of what a straight line promises"),
    "best": ProbedRate(best_rate, 0.0067, "the rate of the lowest loss of those that were tried"),
    "ngn": ProbedRate(
        ngn_rate, 0.0079, "the rate of NGN, which is below the middle one that was tried and bounded by loss over slope"
    ),
    "dog": ProbedRate(dog_rate, 0.013, "the rate whose step is as long as the way from the start"),
    "normalised": ProbedRate(
        normalised_rate, 0.5, "the rate whose step along the gradient has length 1", as_tried=False
    ),
    "unit": ProbedRate(unit_rate, 0.015, "the rate whose step has length 1", as_tried=False),
}


def probed_logarithm(name: str, probe: Probe) -> float | None:
    """Return log X / X0 of what a probe tells; None where it tells nothing."""
    found = probed_rate(name, probe)
    return None if found is None else math.log(found) - math.log(PROBED_RATES[name].usual)


def probed_rate(name: str, probe: Probe) -> float | None:
    """Return a rate that a probe tells; None where it tells none.

    One on the scale of those that were tried is held within them and a factor of 4 around.
    """
    row = PROBED_RATES[name]
    found = row.function(probe)
    if row.as_tried:
        found = min(max(found, probe.rates[0] / SPACING), probe.rates[-1] * SPACING)
    return found if 0 < found < math.inf else None


def disagreement(probe: Probe) -> float | None:
    r"""Return how far the gradients of the two halves of a probe's images differ; None where there are none.

    .. math:: (1 - \cos(g_1, g_2)) / 2

    It is 0 where they point one way, and 1 where they are opposite.
    """
    return min(max((1 - probe.agreement) / 2, 0.0), 1.0) if math.isfinite(probe.agreement) else None
