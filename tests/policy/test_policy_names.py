from __future__ import annotations

from metagd_optuna import policy


def test_every_public_name_is_there_and_sorted():
    assert all(hasattr(policy, name) for name in policy.__all__)
    assert sorted(policy.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n)) == policy.__all__
