"""The packages are laid out as the OptunaHub registry wants them, and their READMEs' examples run."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT / "docs" / "optunahub" / "package"
PACKAGES = sorted(path.parent.relative_to(REGISTRY).as_posix() for path in REGISTRY.glob("*/*/__init__.py"))
# The tag that the registry asks for, by category.
TAGS = {"samplers": "sampler", "visualization": "visualization", "benchmarks": "benchmark"}
TEXTS = (".py", ".md", ".txt", ".toml", ".json", "")  # and pictures that a README shows


def front_matter(package: str) -> tuple[dict[str, object], str]:
    """Return the front matter of a package's README, and the rest of it."""
    text = (REGISTRY / package / "README.md").read_text(encoding="utf-8")
    empty, header, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert not empty
    return yaml.safe_load(header), body


def test_there_are_three() -> None:
    assert PACKAGES == [
        "benchmarks/metagd_policy_space",
        "samplers/resumable_tpe",
        "visualization/plot_learning_rate_policies",
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_front_matter_has_what_the_registry_checks(package: str) -> None:
    header, _ = front_matter(package)
    assert list(header) == ["author", "title", "description", "tags", "optuna_versions", "license"]
    assert all(isinstance(header[key], str) and header[key] for key in ("author", "title", "description", "license"))
    assert header["license"] == "MIT License"
    for key in ("tags", "optuna_versions"):
        values = header[key]
        assert isinstance(values, list)
        assert values
        assert all(isinstance(value, str) for value in values)
    assert TAGS[package.split("/")[0]] in header["tags"]
    assert optuna.__version__ in header["optuna_versions"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_files_are_there_and_small(package: str) -> None:
    folder = REGISTRY / package
    files = {path.name: path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {"__init__.py", "README.md", "LICENSE", "example.py", "requirements.txt"} <= files.keys()
    assert files["LICENSE"].read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    needed = [Requirement(line) for line in files["requirements.txt"].read_text(encoding="utf-8").splitlines()]
    assert "metagd-optuna" in {requirement.name for requirement in needed}
    for path in files.values():
        shown = f"({path.relative_to(folder).as_posix()})" in files["README.md"].read_text(encoding="utf-8")
        assert path.suffix in TEXTS or (path.suffix == ".png" and shown), f"{path}: the registry takes no binary files"
        assert path.stat().st_size < 300_000


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_names_what_the_package_exports(package, load) -> None:
    _, body = front_matter(package)
    for heading in ("Abstract", "APIs", "Installation", "Example"):
        assert f"\n## {heading}\n" in body
    module = load(package)
    assert module.__name__ == f"optunahub_registry.package.{package.replace('/', '.')}"
    for name in module.__all__:
        assert f"`{name}" in body
        assert getattr(module, name).__doc__


@pytest.mark.slow
@pytest.mark.parametrize("page", [f"package/{package}/README.md" for package in PACKAGES] + ["README.md"])
def test_the_examples_of_the_pages_say_what_they_print(page, monkeypatch, capsys, load) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "optunahub" / page).read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", text, re.DOTALL)
    assert examples
    for code, printed in examples:
        capsys.readouterr()
        exec(compile(code, page, "exec"), {"__name__": "__main__"})
        assert capsys.readouterr().out == printed
