from __future__ import annotations

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy, load_policy, stored, stored_policies
from metagd_optuna.policy.stored import measured_result

POLICY = MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 0, "b": 1})


def test_every_stored_policy_loads_and_was_confirmed():
    """What ships has been faster than the best tuned baseline, or no slower that could be shown."""
    for name in stored_policies():
        assert {"slower", "measured"}.isdisjoint(measured_result(load_policy(name)).split())


@pytest.mark.parametrize("as_text", [True, False])
def test_a_path(tmp_path, as_text):
    path = tmp_path / "policy.json"
    POLICY.save(path)
    assert load_policy(str(path) if as_text else path) == POLICY


def test_a_file_of_any_name_in_this_folder(tmp_path, monkeypatch):
    POLICY.save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load_policy("mine") == POLICY


@pytest.mark.parametrize("path", ["absent.json", "runs/absent"])
def test_a_path_that_is_not_there(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaGDError, match=f"{path}: cannot be read"):
        load_policy(path)


def test_a_name(tmp_path, monkeypatch):
    (tmp_path / "stored").mkdir()
    POLICY.save(tmp_path / "stored" / "universal.json")
    monkeypatch.setattr(stored.resources, "files", lambda package: tmp_path)
    assert stored_policies() == ("universal",)
    assert load_policy("universal") == POLICY
    with pytest.raises(MetaGDError, match=r"allowed: universal\. Did you mean 'universal'"):
        load_policy("universel")


def test_nothing_here_hides_a_stored_policy(tmp_path, monkeypatch):
    """A folder of data called like its task is no policy; a file is read where its path is given."""
    monkeypatch.chdir(tmp_path)
    stored_one = load_policy("universal")
    (tmp_path / "universal").mkdir()
    assert load_policy("universal") == stored_one
    (tmp_path / "universal").rmdir()
    POLICY.save(tmp_path / "universal")
    assert load_policy("universal") == stored_one
    assert load_policy("./universal") == load_policy(tmp_path / "universal") == POLICY


def test_no_policy_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(stored.resources, "files", lambda package: tmp_path)
    assert stored_policies() == ()
    with pytest.raises(MetaGDError, match="none is stored with this version: give the path"):
        load_policy("universal")


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        ({}, "not measured"),
        ({"result": None}, "not measured"),
        ({"result": {"label": "tie", "speedup": 1.0}}, "tie"),
        (
            {"results": {"a": {"label": "tie"}, "b": {"label": "faster"}, "c": {"label": "tie"}}},
            "faster on 1, tie on 2 of 3 tasks",
        ),
        ({"results": {"a": None, "b": {"label": "faster"}}}, "faster on 1 of 2 tasks"),
        ({"results": "mine", "result": "good"}, "not measured"),
    ],
)
def test_the_result_of_a_policy_in_words(provenance, words):
    policy = MetaPolicy("adam", "article", {}, "product-article", provenance=provenance)
    assert measured_result(policy) == words
