"""What probes of the coming step cost a training, in the engine and in a plain ``fit``.

The same training with a rule that makes three probes and lets them change nothing, and with a constant, in turn: on
three networks of the suite with images that are made up. 10,000 examples are as short as the suite's trainings are, and
what a probe costs does not grow with the training.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from sides import Side, summary

NETWORKS = ("article-cnn", "depthwise-batch", "vision-transformer")
IMAGES, CLASSES, EXAMPLES, BATCH = 2_500, 6, 10_000, 32
PAIRS = 7
OPTIMIZER = "schedule-free-adamw-r1"


def rules() -> dict[str, Any]:
    """Return both rules; their rates are the same."""
    from metagd_optuna.policy import MetaPolicy

    probed = {"lr0": 0.0025, "probed": "critical", "b": 0.0, "probes": 3, "least": 1.0, "most": 1.0}
    constant = {"lr0": 0.0025, "kd": 0.0, "kp": 0.0}
    return {
        "probes": MetaPolicy(OPTIMIZER, "probed", probed),
        "none": MetaPolicy(OPTIMIZER, "exponential", constant, difficulty="gap"),
    }


def made_up() -> tuple[Any, Any]:
    """Return images (n, 28, 28, 3) as bytes, and labels (n,)."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=IMAGES).astype(np.int32)
    noise = rng.integers(0, 200, size=(IMAGES, 28, 28, 3))
    return (noise + 10 * labels[:, None, None, None]).astype(np.uint8), labels


def engine_side(name: str) -> Callable[..., float]:
    """One sample: a training by the engine, whose programs are built the first time."""
    from metagd_optuna.contracts import TrainingJob
    from metagd_optuna.suite.networks import NETWORKS as BUILDERS
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.training.engine import Engine, Images
    from metagd_optuna.training.plan import plan_run

    prepare_device()
    x, y = made_up()
    plan = plan_run(
        train_examples=IMAGES,
        epochs=EXAMPLES / IMAGES,
        batch_size=BATCH,
        evaluations=25,
        rate_updates_per_evaluation=4,
    )
    engine = Engine(
        Images((x, y), (x[:500], y[:500]), (x[:500], y[:500])),
        classes=CLASSES,
        class_frequencies=(1 / CLASSES,) * CLASSES,
        complexity=0.5,
        plan=plan,
        build_network=BUILDERS[name],
    )

    def sample(rule: str) -> float:
        job = TrainingJob(rule, rules()[rule].controller(), OPTIMIZER)
        began = time.perf_counter()
        engine.train([job], seed=0)
        return time.perf_counter() - began

    return sample


def fit_side(name: str) -> Callable[..., float]:
    """One sample: a new model, compiled and fitted, as a user would."""
    import keras

    from metagd_optuna.policy.optimizers import OPTIMIZERS
    from metagd_optuna.suite.networks import NETWORKS as BUILDERS
    from metagd_optuna.training.callback import MetaPolicyCallback

    x, y = made_up()
    pixels = x.astype("float32") / 255

    def sample(rule: str) -> float:
        keras.backend.clear_session()
        model = BUILDERS[name](x.shape[1:], CLASSES, seed=0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(OPTIMIZERS[OPTIMIZER].build(0.0025), loss)
        callback = MetaPolicyCallback(
            rules()[rule],
            complexity=0.5,
            class_frequencies=(1 / CLASSES,) * CLASSES,
            batch_norm_data=pixels,
            probe=(pixels, y),
        )
        began = time.perf_counter()
        model.fit(pixels, y, batch_size=BATCH, epochs=EXAMPLES // IMAGES, verbose=0, callbacks=[callback])
        return time.perf_counter() - began

    return sample


SIDES = {"engine": engine_side, "fit": fit_side}


def measure(parts: dict[str, Any]) -> dict[str, Any]:
    """Measure every network in the engine and in ``fit``, both rules in turn."""
    found: dict[str, Any] = {"unit": "seconds with three probes over seconds without"}
    for kind, make in SIDES.items():
        found[kind] = {}
        for name in NETWORKS:
            with Side(make, name=name) as side:
                first = {rule: side.sample(rule=rule) for rule in ("none", "probes")}  # programs are built
                pairs = [(side.sample(rule="probes"), side.sample(rule="none")) for _ in range(PAIRS)]
            ratios = [one / other for one, other in pairs]
            without = statistics.median(other for _, other in pairs)
            found[kind][name] = {"ratio": summary(ratios), "seconds": without, "first": first}
            print(
                f"  {kind}, {name}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) of "
                f"{without:.1f} s; the first time {first['probes']:.1f} s with, {first['none']:.1f} s without",
                flush=True,
            )
    return found
