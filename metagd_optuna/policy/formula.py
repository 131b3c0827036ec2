"""Formulas with their coefficients filled in, as text and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping


def number_text(value: float) -> str:
    """Return a number with four significant digits.

    >>> number_text(0.00123456)
    '0.001235'
    """
    return f"{value:.4g}"


def number_latex(value: float) -> str:
    r"""Return a number with four significant digits as LaTeX.

    >>> number_latex(2e-05)
    '2 \\cdot 10^{-5}'
    """
    mantissa, e, exponent = f"{value:.4g}".partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else mantissa


def formula_lines(text: str) -> str:
    """Return a formula with each of its parts, which semicolons separate, on a line of its own.

    >>> print(formula_lines("lr = cosine(t; peak 0.002); adam"))
    lr = cosine(t; peak 0.002)
    adam
    """
    return re.sub(r"; (?![^(]*\))", "\n", text)


def batches_text(batch_size: int | None) -> str:
    """Return how a rule's text ends that says how many examples a step of the optimizer takes, or nothing.

    >>> batches_text(8), batches_text(None)
    ('; batches of 8', '')
    """
    return f"; batches of {batch_size}" if batch_size else ""


def fill(template: str, coefficients: Mapping[str, float | int | str], *, latex: bool = False) -> str:
    """Return ``template`` with its fields filled in.

    Args:
        template: a field ``{a}`` is the value of a, ``{a_signed}`` the value with its sign set apart (``+ 2``),
            ``{a_rest}`` is 1 - a.
        coefficients: name to value.
        latex: whether to write numbers as LaTeX.

    >>> fill("{w} c {k_signed} p", {"w": 0.5, "k": -2.0})
    '0.5 c - 2 p'
    """
    number = number_latex if latex else number_text
    fields: dict[str, str] = {}
    for name, value in coefficients.items():
        if isinstance(value, str):
            fields[name] = value
            continue
        fields[name] = number(value)
        fields[f"{name}_signed"] = f"{'-' if value < 0 else '+'} {number(abs(value))}"
        fields[f"{name}_rest"] = number(1 - value)
    return template.format(**fields)
