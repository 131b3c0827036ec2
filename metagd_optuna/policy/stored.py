"""Policies that come with the package, and policies in files."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, as_path, validate_choice
from metagd_optuna.policy.document import read
from metagd_optuna.policy.rules import Policy, policy_from_json


def stored_policies() -> tuple[str, ...]:
    """Return the names of the policies that come with the package, sorted."""
    folder = resources.files(__package__).joinpath("stored")
    if not folder.is_dir():
        return ()
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".json")))


def load_policy(name_or_path: str | Path) -> Policy:
    """Return a stored policy by its name, or one of any kind from a JSON file.

    Args:
        name_or_path: a name in ``stored_policies()``, whatever else has that name here; else a path (it ends in
            ``.json``, has a folder in it, or exists).

    Raises:
        MetaGDError: if there is no such file or name, or the file holds no valid policy.
    """
    path = as_path(name_or_path, "the policy")
    names = stored_policies()
    # Path drops a leading "./", by which a file of a stored policy's name can be meant.
    elsewhere = path.suffix == ".json" or len(path.parts) > 1 or path.exists()
    if str(name_or_path) not in names and elsewhere:
        return policy_from_json(read(path), str(path))
    if not names:
        raise MetaGDError(
            f"{as_given(str(name_or_path))} is neither a file nor a stored policy; none is stored with this version: "
            "give the path of a policy's JSON file"
        )
    name = validate_choice(str(name_or_path), names, "the stored policy")
    file = resources.files(__package__).joinpath("stored", f"{name}.json")
    return policy_from_json(file.read_text(encoding="utf-8"), f"stored policy {name}")


def measured_result(policy: Policy) -> str:
    """Return what its confirmation said of a policy against the best tuned baseline, in a few words.

    A universal policy was confirmed on several tasks, each with a rule that was chosen without it.

    >>> from metagd_optuna.policy.meta_policy import MetaPolicy
    >>> measured_result(MetaPolicy("adam", "article", {}, "product-article"))
    'not measured'
    """
    if policy.provenance.get("role") is not None:
        return str(policy.provenance["role"])
    results = policy.provenance.get("results")
    found = list(results.values()) if isinstance(results, dict) else [policy.provenance.get("result")]
    labels = Counter(one["label"] for one in found if isinstance(one, dict) and isinstance(one.get("label"), str))
    if not labels:
        return "not measured"
    if len(found) == 1:
        return str(next(iter(labels)))
    return ", ".join(f"{label} on {count}" for label, count in sorted(labels.items())) + f" of {len(found)} tasks"
