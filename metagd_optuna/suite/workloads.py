"""The workloads of the suite: a network, a task and a batch size each, half of them kept for one confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.models import did_you_mean

EXPLORE, CONFIRM = "explore", "confirm"


@dataclass(frozen=True, slots=True)
class Workload:
    """What a rule for the learning rate is tried on.

    Args:
        network: a key of ``NETWORKS``.
        task: a task of the catalogue, or the name of an ``.npz`` file among the data.
        batch_size: examples per step.
        half: ``explore``, where rules may be chosen, or ``confirm``, where they are only judged.
        pretrained_on: task whose training set all layers but the last have seen; empty for weights that are drawn.
        frozen: whether those layers stay as they are.
    """

    network: str
    task: str
    batch_size: int
    half: str
    pretrained_on: str = ""
    frozen: bool = False

    @property
    def name(self) -> str:
        """What it is called in commands, files and tables.

        >>> Workload("resnet-batch", "breastmnist", 8, EXPLORE).name
        'resnet-batch_breastmnist_8'
        >>> Workload("resnet-batch", "breastmnist", 32, CONFIRM, pretrained_on="mednist6", frozen=True).name
        'resnet-batch_frozen-mednist6_breastmnist_32'
        """
        before = [f"{'frozen' if self.frozen else 'from'}-{self.pretrained_on}"] if self.pretrained_on else []
        return "_".join([self.network, *before, self.task, str(self.batch_size)])

    @property
    def row(self) -> tuple[str, ...]:
        """What a table says of it."""
        frozen = f"{self.pretrained_on}, frozen" if self.frozen else self.pretrained_on
        return self.name, self.network, self.task, str(self.batch_size), frozen, self.half


# Every network, every task and every batch size stands in both halves. Rules never see any of these names.
WORKLOADS: tuple[Workload, ...] = (
    Workload("article-cnn", "breastmnist", 32, EXPLORE),
    Workload("article-cnn", "chula_rbc12", 128, EXPLORE),
    Workload("deep-plain", "pneumoniamnist", 8, EXPLORE),
    Workload("resnet-batch", "chula_rbc12", 32, EXPLORE),
    Workload("resnet-batch", "breastmnist", 8, EXPLORE),
    Workload("resnet-group", "bccd_cells3", 32, EXPLORE),
    Workload("depthwise-batch", "retinamnist", 32, EXPLORE),
    Workload("depthwise-batch", "bccd_cells3", 128, EXPLORE),
    Workload("mixer-layer", "mednist6", 32, EXPLORE),
    Workload("vision-transformer", "chula_rbc12", 8, EXPLORE),
    Workload("mlp-narrow", "breast_cancer", 8, EXPLORE),
    Workload("mlp-wide", "mednist6", 128, EXPLORE),
    Workload("resnet-batch", "retinamnist", 32, EXPLORE, pretrained_on="chula_rbc12"),
    Workload("resnet-batch", "pneumoniamnist", 32, EXPLORE, pretrained_on="mednist6", frozen=True),
    Workload("article-cnn", "retinamnist", 8, CONFIRM),
    Workload("article-cnn", "mednist6", 32, CONFIRM),
    Workload("deep-plain", "bccd_cells3", 32, CONFIRM),
    Workload("deep-plain", "chula_rbc12", 128, CONFIRM),
    Workload("resnet-batch", "pneumoniamnist", 128, CONFIRM),
    Workload("resnet-batch", "mednist6", 32, CONFIRM),
    Workload("resnet-group", "breastmnist", 32, CONFIRM),
    Workload("depthwise-batch", "chula_rbc12", 8, CONFIRM),
    Workload("depthwise-batch", "pneumoniamnist", 32, CONFIRM),
    Workload("mixer-layer", "retinamnist", 8, CONFIRM),
    Workload("vision-transformer", "bccd_cells3", 128, CONFIRM),
    Workload("mlp-narrow", "pneumoniamnist", 32, CONFIRM),
    Workload("mlp-wide", "breast_cancer", 32, CONFIRM),
    Workload("resnet-batch", "bccd_cells3", 128, CONFIRM, pretrained_on="chula_rbc12"),
    Workload("resnet-batch", "breastmnist", 32, CONFIRM, pretrained_on="mednist6", frozen=True),
)


def workloads_of(half: str, names: Sequence[str] = ()) -> list[Workload]:
    """Return the workloads of one half, or those of them that are named.

    Raises:
        MetaGDError: for a name that is not one of them.
    """
    there = {workload.name: workload for workload in WORKLOADS if workload.half == half}
    for name in names:
        if name not in there:
            raise MetaGDError(
                f"{as_given(name)} is no workload to {half}{did_you_mean(name, there)}; allowed are: {', '.join(there)}"
            )
    return [there[name] for name in names] or list(there.values())
