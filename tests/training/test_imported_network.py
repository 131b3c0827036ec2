"""A network from code: run only if it is installed or the user says so, and every mistake in it is told in words."""

from __future__ import annotations

import sys

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.imported_network import import_network

CODE = """
import keras


def small(input_shape, classes, *, seed):
    start = keras.initializers.GlorotUniform(seed=seed)
    return keras.Sequential([keras.layers.Input(input_shape), keras.layers.Flatten(),
                             keras.layers.Dense(classes, kernel_initializer=start)])


def broken(input_shape, classes, *, seed):
    return 1 / 0


def nothing(input_shape, classes, *, seed):
    pass


def other(shape):
    pass


number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "our_networks.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("our_networks", None)


def test_code_beside_a_study_runs_only_if_it_is_allowed(folder):
    with pytest.raises(MetaGDError, match=r"'our_networks' is in no installed package.*--allow-code"):
        import_network("our_networks:small", folder=folder, allow_code=False)
    assert "our_networks" not in sys.modules
    build = import_network("our_networks:small", folder=folder, allow_code=True)
    assert build((8, 8, 1), 3, seed=0).output_shape == (None, 3)
    assert build((5,), 2, seed=0).output_shape == (None, 2)  # one builder for tasks of several sizes
    assert str(folder) not in sys.path


def test_code_of_an_installed_package_runs(folder):
    build = import_network("metagd_optuna.suite.networks:resnet_batch", folder=folder, allow_code=False)
    assert build((16, 16, 3), 4, seed=1).output_shape == (None, 4)


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "importlib:import_module"])
def test_the_standard_library_is_no_package_of_networks(folder, name):
    with pytest.raises(MetaGDError, match="is in no installed package"):
        import_network(name, folder=folder, allow_code=False)


def test_a_file_that_hides_an_installed_package_does_not_run(folder, monkeypatch):
    marker = folder / "ran"
    (folder / "optuna_dashboard.py").write_text(f"open({str(marker)!r}, 'w')\ndef small(): pass\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "optuna_dashboard", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(MetaGDError, match="is in no installed package"):
        import_network("optuna_dashboard:small", folder=folder, allow_code=False)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("our_networks:smal", r"no function 'smal' \(did you mean 'small'\?\)"),
        ("our_networks:number", r"no function 'number'"),
        ("our_network:small", r"our_network cannot be imported: ModuleNotFoundError"),
        ("our_networks.deep:small", r"cannot be imported: ModuleNotFoundError"),
    ],
)
def test_names_that_lead_nowhere_are_refused(folder, name, text):
    with pytest.raises(MetaGDError, match=text):
        import_network(name, folder=folder, allow_code=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken", r"it raised ZeroDivisionError: division by zero \(.*our_networks\.py, line 12\)"),
        ("other", r"it raised TypeError: .*unexpected keyword argument 'seed'"),
        ("nothing", r"returned None; it has to return a keras\.Model"),
    ],
)
def test_functions_that_build_no_network_are_told_with_the_line(folder, name, text):
    build = import_network(f"our_networks:{name}", folder=folder, allow_code=True)
    with pytest.raises(MetaGDError, match=text):
        build((8, 8, 1), 3, seed=0)


def test_a_module_that_fails_is_told(folder):
    (folder / "bad_module.py").write_text("raise RuntimeError('no GPU')", encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"bad_module cannot be imported: RuntimeError: no GPU \(.*line 1\)"):
        import_network("bad_module:small", folder=folder, allow_code=True)


def test_a_module_of_another_folder_is_not_taken_for_this_one(tmp_path):
    for name, units in (("first", 2), ("second", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twice_named.py").write_text(f"def build(shape, classes, *, seed):\n    return {units}\n")
    found = []
    for name in ("first", "second"):
        build = import_network("twice_named:build", folder=tmp_path / name, allow_code=True)
        with pytest.raises(MetaGDError, match=r"returned \d") as caught:
            build((8, 8, 1), 2, seed=0)
        found.append(str(caught.value).partition("returned ")[2][0])
    assert found == ["2", "3"]
    sys.modules.pop("twice_named")


def test_what_a_function_imports_is_found_beside_the_study(folder):
    (folder / "side_module.py").write_text("units = 3\n", encoding="utf-8")
    (folder / "late_network.py").write_text(
        "def build(shape, classes, *, seed):\n    import side_module\n    return side_module.units\n", encoding="utf-8"
    )
    build = import_network("late_network:build", folder=folder, allow_code=True)
    with pytest.raises(MetaGDError, match="returned 3"):
        build((8, 8, 1), 2, seed=0)


def test_a_module_that_ends_the_program_is_told(folder):
    (folder / "ends_module.py").write_text("raise SystemExit(3)", encoding="utf-8")
    with pytest.raises(MetaGDError, match="ends_module cannot be imported: SystemExit: 3"):
        import_network("ends_module:build", folder=folder, allow_code=True)
