"""What the stored universal policy does and costs in a plain ``fit`` on Keras' JAX backend; no TensorFlow is needed.

    KERAS_BACKEND=jax python tests/benchmarks/gpu_fit.py --out gpu-fit.json

For networks of the suite: ``fit`` with Adam and no callback, with the stored policy that holds one rate, and with
the one that measures its rate by probes. Run once on the GPU and once on a CPU, the rates tell whether probes measure
the same there; TF32, in which a GPU multiplies float32 numbers by default, is a difference to expect.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from overhead import Stopwatch
from probes import CLASSES, EXAMPLES, made_up

from metagd_optuna.policy import load_policy
from metagd_optuna.suite.networks import NETWORKS
from metagd_optuna.training.callback import MetaPolicyCallback
from metagd_optuna.training.keras_probe import KerasProbe

# Adam comes first: what XLA tries out for a network on a GPU is kept for the others.
SIDES = ("adam", "universal-constant", "universal")


def trained(network: str, side: str, batch: int, probing: Stopwatch) -> dict[str, Any]:
    """Train once, as a user would; return the rate, the last loss, and the seconds of the training and of its probes.

    The seconds of the first epoch, in which JAX compiles, are apart.
    """

    class Clock(keras.callbacks.Callback):
        """Takes the time at the end of every epoch."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Take the time."""
            ends.append(time.perf_counter())

    probing.seconds = 0.0
    x, y = made_up()
    pixels = x.astype("float32") / 255
    epochs = EXAMPLES // len(x)
    keras.backend.clear_session()
    model = NETWORKS[network](x.shape[1:], CLASSES, seed=0)
    optimizer: Any = keras.optimizers.Adam(1e-3)
    callbacks: list[Any] = [Clock()]
    if side != "adam":
        rule = load_policy(side)
        optimizer = rule.make_optimizer()
        shares = (1 / CLASSES,) * CLASSES
        steered = MetaPolicyCallback(
            rule, complexity=0.5, class_frequencies=shares, batch_norm_data=pixels, probe=(pixels, y)
        )
        callbacks.insert(0, steered)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ends = [time.perf_counter()]
    history = model.fit(pixels, y, batch_size=batch, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)
    seconds = np.diff(ends)
    return {
        "rate": float(model.optimizer.learning_rate),
        "loss": float(history.history["loss"][-1]),
        "probe_seconds": probing.seconds,
        "first_epoch": float(seconds[0]),
        "examples_per_second": len(x) / statistics.median(seconds[1:]),
    }


def main() -> None:
    """Train every network on every side; print a table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench/gpu-fit.json"))
    parser.add_argument("--networks", nargs="+", default=sorted(NETWORKS), choices=sorted(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=(32,))
    parser.add_argument("--limit-seconds", type=float, default=240, help="start nothing after this")
    options = parser.parse_args()
    began = time.perf_counter()
    probing = Stopwatch()
    KerasProbe.__call__ = probing.around(KerasProbe.__call__)  # type: ignore[method-assign]
    device = jax.devices()[0]
    about = {"device": f"{device.platform}: {device.device_kind}", "jax": jax.__version__, "keras": keras.__version__}
    print(json.dumps(about), flush=True)
    rows: list[dict[str, Any]] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for batch in options.batches:
        for network in options.networks:
            for side in SIDES:
                if time.perf_counter() - began > options.limit_seconds:
                    print(f"not started for want of time: {network}, {side}, batch {batch}", flush=True)
                    continue
                row = {"network": network, "batch": batch, "side": side}
                rows.append(row | trained(network, side, batch, probing))
                print(json.dumps(rows[-1]), flush=True)
                options.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
