"""What the parts of the package hand to one another: plain values, and the error that users see.

Everything here is a frozen value with no behaviour beyond converting itself to and from JSON-able
dictionaries, so every floor of the package can use it without loading TensorFlow or Optuna.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# What convolutions and matrix products multiply; weights, optimizer and loss are always float32.
COMPUTE_TYPES = ("float32", "bfloat16")
# A probe tries so many rates, on so many training images.
TRIALS, PROBE_IMAGES = 5, 32
TARGET_SHARE = 0.95  # of the way from chance level to where the best baseline ends, unless a study says otherwise


# What a terminal obeys or is confused by, in names from elsewhere: control characters, and those that turn the
# direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LONGEST_ERROR, MOST_LINES = 2_000, 25


def printable(text: str) -> str:
    """Return a text with every character written out that a terminal would obey, but for line ends and tabs.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class MetaGDError(Exception):
    """An error whose text tells a user what was given, what is allowed and what to do.

    It is never longer than a screen, whatever was given: of a longer text the middle is left out.

    Args:
        text: what it says.
    """

    def __init__(self, text: str) -> None:
        said = printable(text)
        lines = said.split("\n")
        if len(lines) > MOST_LINES:
            kept = MOST_LINES // 2
            said = "\n".join([*lines[:kept], f"... ({len(lines):,} lines) ...", *lines[-kept:]])
        if len(said) > LONGEST_ERROR:
            gap = f" ... ({len(said):,} characters) ... "
            kept = (LONGEST_ERROR - len(gap)) // 2
            said = f"{said[:kept]}{gap}{said[-kept:]}"
        super().__init__(said)


class MetaGDWarning(UserWarning):
    """What a user should know of a training that goes on all the same; said once per training."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a controller knows before training starts.

    Args:
        complexity: complexity c of the task, in [0, 1].
        class_frequencies: share of every class among the training labels, shape (K,), summing to 1.
        optimizer: a key of ``policy.optimizers.OPTIMIZERS``.
        steps: budget of the run, in optimizer steps.
        steps_per_epoch: optimizer steps per pass over the training set; need not be whole.
        chance_loss: training loss of a network that answers the class frequencies; None for the cross-entropy, where
            it is their entropy.
        network: properties of the network by name, each in [0, 1]; see ``policy.complexities``.
    """

    complexity: float
    class_frequencies: tuple[float, ...]
    optimizer: str
    steps: int
    steps_per_epoch: float
    chance_loss: float | None = None
    network: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Validation:
    """Validation metrics, measured after ``step`` optimizer steps; all but ``loss`` are in [0, 1]."""

    step: int
    loss: float
    accuracy: float
    balanced_accuracy: float
    auc: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What a few training images say of the coming step, measured in training mode before it is taken.

    The coming step is the optimizer's on their gradient, at some rate; w(rate) are the weights behind it, L their loss.
    Lengths are Euclidean, over all weights that train.

    Args:
        loss: L(0), mean training loss (nats) over the images.
        rates: that were tried, rising, shape (S,).
        losses: L at each of them, shape (S,); one that is not finite is infinite.
        gradient: length of the gradient g.
        direction: |w(rate) - w(0)| / rate.
        slope: g (w(0) - w(rate)) / rate, what a small step gains per unit of the rate.
        agreement: cosine of the angle between the gradients of the two halves of the images.
        distance: of the weights from where the training, or the call of ``fit``, began.
    """

    loss: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    gradient: float
    direction: float
    slope: float
    agreement: float
    distance: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What a controller sees at a rate update; the first one, at step 0, has seen nothing yet (all None).

    Args:
        step: optimizer steps taken so far.
        train_loss: mean training loss (nats) since the last rate update.
        train_accuracy: mean training accuracy since the last rate update.
        validation: the latest validation metrics, whenever they were measured.
        rate: the learning rate of the last step taken.
        probe: of the coming step, where the controller asked for one at this update.
    """

    step: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    validation: Validation | None = None
    rate: float | None = None
    probe: Probe | None = None


class Controller(Protocol):
    """Anything that sets the learning rate from observations; pure, so that it can be replayed."""

    def start(self, context: Context) -> Any:
        """Return the state (a NamedTuple) before any observation."""

    def rates(self, state: Any, observation: Observation, steps: int) -> tuple[FloatArray, Any]:
        """Return one rate per step until the next update, shape (steps,), and the new state."""


@runtime_checkable
class Probing(Controller, Protocol):
    """A controller that may have the coming step probed at some rate updates, which costs a few steps each."""

    @property
    def probes(self) -> int:
        """How many probes it makes, at most; 0 for a controller that makes none."""

    def trial_rates(self, state: Any, step: int) -> tuple[float, ...]:
        """Return the rates to try before the controller is asked at a step, ``TRIALS`` of them; none for no probe."""


@dataclass(frozen=True, slots=True, repr=False)
class Curve:
    """Metrics at every evaluation of a run; all tuples have the same length.

    Args:
        steps: optimizer steps taken at each evaluation, increasing.
        loss: cross-entropy in nats.
        accuracy, balanced_accuracy, auc: in [0, 1]; ``auc`` is macro one-vs-rest.
    """

    steps: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    balanced_accuracy: tuple[float, ...]
    auc: tuple[float, ...]

    def metric(self, name: str) -> tuple[float, ...]:
        """Return the values of ``auc``, ``balanced_accuracy``, ``accuracy`` or ``loss``."""
        values: tuple[float, ...] = getattr(self, name)
        return values

    def __repr__(self) -> str:
        best = f", best auc {max(self.auc):.3f}" if self.auc else ""
        return f"<curve of {len(self.steps)} evaluations{best}>"


@dataclass(frozen=True, slots=True, repr=False)
class RunRecord:
    """What one training leaves behind.

    Args:
        candidate: name of what set the rate.
        seed: fixes initial weights and mini-batch order.
        budget: steps that the run was given, each a batch of the study; of the optimizer it takes several in each where
            the candidate chose a smaller batch.
        steps: those that it took (fewer after an early stop or a divergence).
        validation: the curve on the validation part.
        test: the curve on the test part; only confirmations have one.
        update_steps: step at every rate update.
        train_loss, train_accuracy: means between rate updates.
        rates: the learning rate of every step taken, shape (steps,).
        diverged: whether the loss stopped being finite; the curve ends before that.
    """

    candidate: str
    seed: int
    budget: int
    steps: int
    validation: Curve
    test: Curve | None
    update_steps: tuple[int, ...]
    train_loss: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    rates: tuple[float, ...]
    diverged: bool = False

    def __repr__(self) -> str:
        end = ", diverged" if self.diverged else ""
        return (
            f"<run of {self.candidate}, seed {self.seed}: {self.steps} of {self.budget} steps{end}, {self.validation}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> RunRecord:
        """Return the record that ``to_dict`` wrote."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
        for part in ("validation", "test"):
            if values[part] is not None:
                values[part] = Curve(**{key: tuple(v) for key, v in values[part].items()})
        return cls(**values)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The fixed timetable of every run of a study on one task.

    Args:
        train_examples: n, size of the training part.
        batch_size: examples per step, at most n.
        steps: budget; a job with a smaller batch takes several steps of the optimizer in each.
        evaluation_steps: steps after which a run is evaluated, increasing; the last is ``steps``.
        update_steps: steps after which the controller looks, increasing; contains every evaluation.
    """

    train_examples: int
    batch_size: int
    steps: int
    evaluation_steps: tuple[int, ...]
    update_steps: tuple[int, ...]

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps per pass over the training part, n / batch size."""
        return self.train_examples / self.batch_size

    @property
    def budget_epochs(self) -> float:
        """Passes over the training part in the whole budget."""
        return self.steps / self.steps_per_epoch

    def epochs(self, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return examples seen after ``steps`` steps, in passes over the training part."""
        return np.asarray(steps, dtype=np.float64) / self.steps_per_epoch

    def batches(self, seed: int) -> npt.NDArray[np.int32]:
        """Return the indices of every mini-batch, shape (steps, batch size), int32.

        Shuffled passes over the training part are laid end to end and cut into batches, so that no example is
        dropped and examples seen = steps x batch size exactly.
        """
        rng = np.random.default_rng((seed, self.train_examples))
        passes = -(-self.steps * self.batch_size // self.train_examples)
        order = np.concatenate([rng.permutation(self.train_examples) for _ in range(passes)])
        return order[: self.steps * self.batch_size].reshape(self.steps, self.batch_size).astype(np.int32)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training: a named controller, and the optimizer whose rate it sets.

    Args:
        name: of the candidate, copied into the run's record.
        controller: sets the rate of every step.
        optimizer: one of ``OPTIMIZERS``.
        batch_size: examples per step of the optimizer, a divisor of the plan's; None for the plan's. With a smaller one
            a step of the plan is several of the optimizer, one after another, at one rate.
    """

    name: str
    controller: Controller
    optimizer: str
    batch_size: int | None = None


# Called after an evaluation with the curves so far of jobs still in training, by their index; answers with those of
# them to stop. It is called for one group of jobs at a time, in no fixed order. Where memory ran out, the jobs of
# a group begin anew, so their curves start again, but for those that were stopped, which are not shown again.
Watch = Callable[[Mapping[int, Curve]], Collection[int]]


class Planned(Protocol):
    """What is known of trainings on one task and one network, wherever they are done."""

    @property
    def plan(self) -> RunPlan:
        """The timetable of every run."""

    @property
    def population(self) -> int:
        """Members that share one program; it decides rounding, so it is stored with the task."""

    @property
    def weights(self) -> int:
        """How many weights the network has."""

    @property
    def fingerprint(self) -> str:
        """What tells the network from others."""


class Trainer(Planned, Protocol):
    """What a search needs of training: jobs in, records out, on one task and one network."""

    def train(
        self, jobs: Sequence[TrainingJob], *, seed: int, test: bool = False, watch: Watch | None = None
    ) -> list[RunRecord]:
        """Train all jobs from the same initial weights on the same examples in the same order.

        Args:
            jobs: at least one.
            seed: fixes initial weights and the order of the examples.
            test: whether to store the curve on the test part as well; nothing ever steers on it.
            watch: may stop jobs after an evaluation.

        Returns:
            one record per job, in their order.
        """
