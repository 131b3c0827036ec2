"""Every kind of rule that can be stored, and the one way from a document to any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter

from metagd_optuna.models import checked, schema_document
from metagd_optuna.policy import document
from metagd_optuna.policy.article import ArticleRule
from metagd_optuna.policy.baselines import TunedBaseline
from metagd_optuna.policy.candidate import Candidate
from metagd_optuna.policy.controls import FixedComplexity, FrozenPolicy, RecordedRates
from metagd_optuna.policy.defaults import KerasDefault
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.document import Rule
from metagd_optuna.policy.meta_policy import MetaPolicy, MetaPolicyDocument
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.schema import forms_schema

Policy = MetaPolicy | TunedBaseline | KerasDefault | ArticleRule | RecordedRates | FrozenPolicy | FixedComplexity

_RULES = (TunedBaseline, KerasDefault, ArticleRule, RecordedRates, FrozenPolicy, FixedComplexity)
_BY_KIND: Mapping[str, type[Rule]] = {rule.model_fields["kind"].default: rule for rule in _RULES}


def policy_from_dict(table: Mapping[str, Any], source: str = "") -> Policy:
    """Return the rule, of whatever kind, whose document this is; errors name ``source`` first.

    >>> policy_from_dict({"schema": 2, "kind": "default", "name": "keras-adam"}).formula
    'lr = 0.001; adam'
    """
    kind = document.kind_of(table, source)
    if kind == MetaPolicy.kind:
        return MetaPolicy.from_dict(table, source)
    return cast(Policy, checked(_BY_KIND[kind], table, source or "the policy"))


def policy_from_json(text: str, source: str = "") -> Policy:
    """Return the rule, of whatever kind, whose document is this text; errors name ``source`` first."""
    return policy_from_dict(document.parse(text, source), source)


def with_provenance(policy: Policy, provenance: Mapping[str, Any]) -> Policy:
    """Return the same rule with where it comes from.

    >>> adam = policy_from_dict({"schema": 2, "kind": "default", "name": "keras-adam"})
    >>> with_provenance(adam, {"study": "ours"}).provenance["study"]
    'ours'
    """
    if isinstance(policy, MetaPolicy):
        return replace(policy, provenance=provenance)
    return policy.model_copy(update={"provenance": dict(provenance)})


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy's file, with the forms and baselines that are registered now."""
    kinds = (
        MetaPolicyDocument | TunedBaseline | KerasDefault | ArticleRule | RecordedRates | FrozenPolicy | FixedComplexity
    )
    schema = TypeAdapter(Annotated[kinds, Field(discriminator="kind")]).json_schema()
    # What a form's coefficients may be is checked by the form, so the models do not say it.
    forms = schema["$defs"]["MetaPolicyDocument"]["properties"]
    forms["rate"] = forms_schema(RATE_FORMS, optional=False)
    forms["difficulty"] = forms_schema(DIFFICULTY_FORMS, optional=True)
    for part in schema["$defs"].values():
        if "schema" in part["properties"]:  # with a default for Python, and needed in a file
            part["required"] = sorted({"schema", "kind", *part.get("required", ())})
    return schema_document("A policy of metagd_optuna", schema)


def candidate_from_settings(name: str, settings: Mapping[str, Any]) -> Candidate:
    """Return the candidate whose ``settings`` these are, under the name ``name``.

    Raises:
        MetaGDError: if they are no candidate's settings.

    >>> candidate_from_settings("keras-adam", {"schema": 2, "kind": "default", "name": "keras-adam"}).kind
    'default'
    """
    return Candidate(name, policy_from_dict(settings, name))
