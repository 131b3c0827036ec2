"""Forms of f: difficulty from complexity and performance, d = f(c, p)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.policy.coefficients import Coefficient, Coefficients, middle
from metagd_optuna.policy.row_checks import check_row, check_template, check_trend, tried
from metagd_optuna.registry import Registry

# Entry is clipped to [EDGE, 1 - EDGE], so that logits and quotients stay finite.
EDGE = 0.01
ROUNDING = 1e-9


def product_article(c: float, p: float) -> float:
    """Return c p: the article's form, which calls a task harder the better the model is at it.

    >>> product_article(0.5, 0.8)
    0.4
    """
    return c * p


def product(c: float, p: float, *, a: float, b: float) -> float:
    """Return c^a (1 - p)^b; rises with c, falls with p.

    >>> product(0.5, 0.5, a=1.0, b=2.0)
    0.125
    """
    return float(c**a * (1 - p) ** b)


def gap(c: float, p: float) -> float:
    """Return 1 - p, what performance still lacks; the mix for studies of one task, where c is a constant.

    >>> gap(0.5, 0.75)
    0.25
    """
    return 1 - p


def mix(c: float, p: float, *, w: float) -> float:
    """Return w c + (1 - w)(1 - p); rises with c, falls with p.

    >>> mix(0.5, 0.75, w=0.5)
    0.375
    """
    return w * c + (1 - w) * (1 - p)


def logistic(c: float, p: float, *, a0: float, a1: float, a2: float) -> float:
    """Return sigmoid(a0 + a1 c + a2 p); goes with c as the sign of a1 says, with p as that of a2.

    >>> logistic(0.5, 0.5, a0=0.0, a1=2.0, a2=-2.0)
    0.5
    """
    return sigmoid(a0 + a1 * c + a2 * p)


def rasch(c: float, p: float, *, k: float) -> float:
    """Return sigmoid(k (logit c - logit p)), an item of difficulty c met by an ability p; needs both in (0, 1).

    >>> rasch(0.3, 0.3, k=2.0)
    0.5
    """
    return sigmoid(k * (math.log(c / (1 - c)) - math.log(p / (1 - p))))


def exponential(c: float, p: float, *, k: float) -> float:
    """Return c e^(-k p); rises with c, falls with p.

    >>> exponential(0.5, 0.9, k=0.0)
    0.5
    """
    return c * math.exp(-k * p)


def rational(c: float, p: float, *, k: float) -> float:
    """Return c / (c + k p); rises with c, falls with p; needs c > 0.

    >>> rational(0.5, 0.5, k=1.0)
    0.5
    """
    return c / (c + k * p)


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x) without overflow.

    >>> sigmoid(-1e4)
    0.0
    """
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def sign(x: float | int | str) -> int:
    """Return the sign of a number as -1, 0 or 1."""
    value = float(x)
    return (value > 0) - (value < 0)


@dataclass(frozen=True, slots=True)
class DifficultyForm:
    """A family of rules for difficulty.

    Args:
        function: (c, p, coefficients by name) -> d.
        coefficients: name to range.
        trend: coefficients -> directions of d in c and in p: 1 rises, -1 falls, 0 does not depend; 1 or -1 where
            it does both.
        text, latex: the formula with a field for each coefficient.
    """

    function: Callable[..., float]
    coefficients: Mapping[str, Coefficient]
    trend: Callable[[Coefficients], tuple[int, int]]
    text: str
    latex: str

    def __call__(self, complexity: float, performance: float, coefficients: Coefficients) -> float:
        """Return the difficulty in [0, 1]; c and p are clipped to [0.01, 0.99] on entry.

        >>> DIFFICULTY_FORMS["mix"](1.0, 0.5, {"w": 0.5})
        0.745
        """
        c = min(max(complexity, EDGE), 1 - EDGE)
        p = min(max(performance, EDGE), 1 - EDGE)
        return min(max(float(self.function(c, p, **coefficients)), 0.0), 1.0)

    def check(self, what: str) -> None:
        """Check that the parts of the row fit one another, and that it gives a number in the middle of its ranges.

        Raises:
            MetaGDError: naming the part that does not fit.
        """
        check_row(self.coefficients, what, (Coefficient,))
        for part, template in (("text", self.text), ("latex", self.latex)):
            check_template(template, self.coefficients, f"{what}, {part}")
        values = {name: middle(kind) for name, kind in self.coefficients.items()}
        check_trend(tried(f"{what}, trend", self.trend, values), what)
        found_at: dict[tuple[str, float], list[float]] = {}
        for c, p in itertools.product((0.0, 0.5, 1.0), repeat=2):
            at = f"{what}, function at c = {c:g}, p = {p:g}"
            found = tried(at, self, c, p, values)
            if not math.isfinite(found):
                raise MetaGDError(f"{at}: it gives {as_given(found)}; it must be a finite number")
            for held in (("c", p), ("p", c)):  # what it moves with, and where the other is held
                found_at.setdefault(held, []).append(found)
        for name, said in zip("cp", self.trend(values), strict=True):
            moves = any(max(d) - min(d) > ROUNDING for (moved, _), d in found_at.items() if moved == name)
            if said == 0 and moves:
                raise MetaGDError(
                    f"{what}, trend: it says 0 for {name}, but difficulty moves with {name}; say 1 or -1, either of "
                    "them if it rises and falls"
                )


_OWN = {
    "product-article": DifficultyForm(product_article, {}, lambda k: (1, 1), "c p", "c\\,p"),
    "product": DifficultyForm(
        product,
        {"a": Coefficient(0, 3), "b": Coefficient(0, 3)},
        lambda k: (sign(k["a"]), -sign(k["b"])),
        "c^{a} (1 - p)^{b}",
        "c^{{{a}}} (1 - p)^{{{b}}}",
    ),
    "gap": DifficultyForm(gap, {}, lambda k: (0, -1), "1 - p", "1 - p"),
    "mix": DifficultyForm(
        mix,
        {"w": Coefficient(0, 1)},
        lambda k: (sign(k["w"]), -sign(1 - float(k["w"]))),
        "{w} c + {w_rest} (1 - p)",
        "{w}\\,c + {w_rest}\\,(1 - p)",
    ),
    "logistic": DifficultyForm(
        logistic,
        {"a0": Coefficient(-4, 4), "a1": Coefficient(-8, 8), "a2": Coefficient(-8, 8)},
        lambda k: (sign(k["a1"]), sign(k["a2"])),
        "sigmoid({a0} {a1_signed} c {a2_signed} p)",
        "\\sigma({a0} {a1_signed}\\,c {a2_signed}\\,p)",
    ),
    "rasch": DifficultyForm(
        rasch,
        {"k": Coefficient(0.25, 4, log=True)},
        lambda k: (1, -1),
        "sigmoid({k} (logit c - logit p))",
        "\\sigma({k}\\,(\\operatorname{{logit}} c - \\operatorname{{logit}} p))",
    ),
    "exponential": DifficultyForm(
        exponential, {"k": Coefficient(0, 6)}, lambda k: (1, -sign(k["k"])), "c exp(-{k} p)", "c\\,e^{{-{k} p}}"
    ),
    "rational": DifficultyForm(
        rational,
        {"k": Coefficient(0.1, 10, log=True)},
        lambda k: (1, -1),
        "c / (c + {k} p)",
        "\\frac{{c}}{{c + {k}\\,p}}",
    ),
}
DIFFICULTY_FORMS = Registry(
    DifficultyForm, "difficulty form", "register_difficulty_form", _OWN, check=DifficultyForm.check
)


def register_difficulty_form(name: str, form: DifficultyForm) -> None:
    """Add a form of f of your own, so that studies can search it and policies can name it.

    Args:
        name: what study files and policies call it: small letters and digits, words joined by hyphens.
        form: all there is to say of it.

    Raises:
        MetaGDError: if the name is taken or malformed, or the parts of the form do not fit one another.
    """
    DIFFICULTY_FORMS.add(name, form)
