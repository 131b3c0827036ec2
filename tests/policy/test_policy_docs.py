from __future__ import annotations

import re
from pathlib import Path

import pytest

from metagd_optuna.policy import BASELINES, DEFAULTS, DIFFICULTY_FORMS, OPTIMIZERS, RATE_FORMS, SIGNALS, MetaPolicy

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", [*DIFFICULTY_FORMS, *RATE_FORMS, *BASELINES, *DEFAULTS, *SIGNALS, *OPTIMIZERS], ids=str
)
def test_every_name_is_documented(name):
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize(
    ("heading", "forms"), [("Forms of f", DIFFICULTY_FORMS), ("Forms of g", RATE_FORMS)], ids=["f", "g"]
)
def test_the_tables_name_every_bound_of_every_form(heading, forms):
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    for name, form in forms.items():
        [row] = [line for line in section.splitlines() if line.startswith(f"| `{name}`")]
        numbers = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", row)}
        for key, kind in form.coefficients.items():
            if hasattr(kind, "low"):
                assert {kind.low, kind.high} <= numbers, (name, key)


def test_the_document_on_the_page_is_a_policy():
    policy = MetaPolicy.from_json(PAGE.split("```json\n")[1].split("```")[0], "docs/policies.md")
    code, of_network = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "rate_coefficients" in block
    ]
    for name, value in (policy.rate_coefficients | policy.difficulty_coefficients).items():
        [written] = re.findall(rf'"{name}": ([\d.e-]+)', code)
        assert float(written) == value
    made: dict[str, MetaPolicy] = {}
    exec(of_network, made)
    assert "c from batch-norm" in made["policy"].formula
    rates = [made["policy"].first_rate(share) for share in (0.0, 1.0)]
    assert [f"{rate:.2g}" for rate in rates] == list(
        *re.findall(r"about ([\d.]+) without and ([\d.]+) with", of_network)
    )


def test_the_form_on_the_page_can_be_registered(monkeypatch, capsys):
    monkeypatch.setattr(RATE_FORMS, "_rows", dict(RATE_FORMS._rows))
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "register_rate_form(" in block]
    exec(code, {})
    assert capsys.readouterr().out == "lr = 0.01 / sqrt(1 + 9 p); p from train-loss; adam\n"
