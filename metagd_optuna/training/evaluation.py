"""Logits to the numbers of a curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metagd_optuna.analysis.scores import accuracy, balanced_accuracy, cross_entropy, macro_auc


def evaluate_logits(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]
) -> list[tuple[float, float, float, float]]:
    """Return (loss, accuracy, balanced accuracy, AUC) per member; a loss of inf marks logits that are not finite.

    Args:
        logits: (P, N, K).
        labels: (N,).
    """
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=(1, 2)))
    safe = np.where(finite[:, None, None], logits, 0.0).astype(np.float64)
    loss = np.where(finite, cross_entropy(safe, labels), np.inf)
    auc = macro_auc(safe, labels, from_logits=True)
    columns = (loss, accuracy(safe, labels), balanced_accuracy(safe, labels), auc)
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in zip(*columns, strict=True)]
