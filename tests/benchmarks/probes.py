"""What the probes of the stored universal policy cost a training, in the engine and in a plain ``fit``.

Their seconds within the training, over all of it: networks of the suite, images that are made up, and as many examples
as a study's trainings have by default. What they cost does not grow with the training.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from overhead import Stopwatch
from sides import Side, summary

NETWORKS = ("article-cnn", "depthwise-batch", "vision-transformer")
IMAGES, CLASSES, EXAMPLES, BATCH = 2_500, 6, 15_000, 32
SAMPLES = 3


def made_up() -> tuple[Any, Any]:
    """Return images (n, 28, 28, 3) as bytes, and labels (n,)."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=IMAGES).astype(np.int32)
    noise = rng.integers(0, 200, size=(IMAGES, 28, 28, 3))
    return (noise + 10 * labels[:, None, None, None]).astype(np.uint8), labels


def engine_side(name: str) -> Callable[..., dict[str, float]]:
    """One sample: a training by the engine, whose programs are built the first time."""
    from metagd_optuna.contracts import TrainingJob
    from metagd_optuna.policy import load_policy
    from metagd_optuna.suite.networks import NETWORKS as BUILDERS
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.training.engine import Engine, Images
    from metagd_optuna.training.plan import plan_run
    from metagd_optuna.training.population import Population

    prepare_device()
    probing, policy = Stopwatch(), load_policy("universal")
    Population._probe = probing.around(Population._probe)  # type: ignore[method-assign]
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

    def sample() -> dict[str, float]:
        probing.seconds = 0.0
        began = time.perf_counter()
        engine.train([TrainingJob("universal", policy.controller(), policy.optimizer)], seed=0)
        return {"probes": probing.seconds, "seconds": time.perf_counter() - began}

    return sample


def fit_side(name: str) -> Callable[..., dict[str, float]]:
    """One sample: a new model, compiled and fitted, as a user would; what is compiled for probes is counted, too."""
    import keras

    from metagd_optuna.policy import load_policy
    from metagd_optuna.suite.networks import NETWORKS as BUILDERS
    from metagd_optuna.training.callback import MetaPolicyCallback
    from metagd_optuna.training.keras_probe import KerasProbe

    probing, policy = Stopwatch(), load_policy("universal")
    KerasProbe.__call__ = probing.around(KerasProbe.__call__)  # type: ignore[method-assign]
    x, y = made_up()
    pixels = x.astype("float32") / 255

    def sample() -> dict[str, float]:
        probing.seconds = 0.0
        keras.backend.clear_session()
        model = BUILDERS[name](x.shape[1:], CLASSES, seed=0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(policy.make_optimizer(), loss)
        callback = MetaPolicyCallback(
            policy,
            class_frequencies=(1 / CLASSES,) * CLASSES,
            batch_norm_data=pixels,
            probe=(pixels, y),
        )
        began = time.perf_counter()
        model.fit(pixels, y, batch_size=BATCH, epochs=EXAMPLES // IMAGES, verbose=0, callbacks=[callback])
        return {"probes": probing.seconds, "seconds": time.perf_counter() - began}

    return sample


SIDES = {"engine": engine_side, "fit": fit_side}


def measure(parts: dict[str, Any]) -> dict[str, Any]:
    """Measure every network in the engine and in ``fit``."""
    found: dict[str, Any] = {"unit": "share of the training's seconds"}
    for kind, make in SIDES.items():
        found[kind] = {}
        for name in NETWORKS:
            with Side(make, name=name) as side:
                first = side.sample()  # programs are built
                samples = [side.sample() for _ in range(SAMPLES)]
            shares = [one["probes"] / one["seconds"] for one in samples]
            found[kind][name] = {"share": summary(shares), "first": first, "samples": samples}
            each, whole = (statistics.median(one[key] for one in samples) for key in ("probes", "seconds"))
            print(
                f"  {kind}, {name}: {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}), "
                f"{each:.2f} of {whole:.1f} s; the first time {first['probes']:.2f} of {first['seconds']:.1f} s",
                flush=True,
            )
    return found
