"""What the README shows is run."""

import re
from pathlib import Path

import keras
import numpy as np
from small_study import store_of

README = Path(__file__).parents[1] / "README.md"


def test_five_lines_that_import_a_policy(finished_study, tmp_path, monkeypatch):
    from metagd_optuna.policy import RATE_BOUNDS
    from metagd_optuna.search.record import winning_policy
    from metagd_optuna.training.optimizers import OPTIMIZERS

    [block] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    [path] = re.findall(r'load_policy\("([^"]+)"\)', block)
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True)
    policy = winning_policy(store_of(finished_study.out), "breast_cancer")
    policy.save(path)

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=40)
    x = rng.normal(size=(40, 12)) + y[:, None]
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(2)])
    optimizer = OPTIMIZERS[policy.optimizer].keras(1e-3)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    names = {"x": x, "y": y, "model": model}
    exec(compile(block.replace("epochs=10", "epochs=10, verbose=0"), "README.md", "exec"), names)
    assert len(names["callback"].rates) == 10 * 2
    low, high = RATE_BOUNDS[policy.optimizer]
    assert all(low <= rate <= high for rate in names["callback"].rates)
    assert float(model.optimizer.learning_rate) == np.float32(names["callback"].rates[-1])


def test_both_commands_are_in_the_makefile():
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"^    make (\w+)", README.read_text(encoding="utf-8"), re.M):
        assert re.search(rf"^{command}:", makefile, re.M)


def test_every_page_that_is_linked_exists():
    for link in re.findall(r"\]\((docs/[^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / link).is_file(), link


def test_tables_of_results_are_written_from_them():
    """The README's tables are those of the results in docs/results, judged by this version."""
    from metagd_optuna.report.markdown import overview
    from metagd_optuna.report.results import merge_results, read_results

    text = README.read_text(encoding="utf-8")
    tables = re.findall(r"<!-- table of (docs/results/\S+) -->\n\n(.*?)\n\n<!-- end of table -->", text, re.S)
    assert tables
    for folder, table in tables:
        written = overview(merge_results([read_results(README.parent / folder)]))
        assert table == written, f"README.md has to contain this table:\n\n{written}"
