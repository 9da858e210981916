"""The interface of a task: all that depends on the kind of answer a network gives."""

import inspect
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from hydra.utils import get_object, instantiate
from torch import Tensor, nn
from torchmetrics import MetricCollection
from typing_extensions import Self

from graft.errors import UserError, import_allowed
from graft.tasks import Target

SIZES = ("num_classes", "num_labels", "num_columns")  # names that metrics have for the number of outputs


@dataclass(frozen=True)
class Task(ABC):
    """Owns targets, losses, metrics and decision of one kind of answer.

    `metrics` are configuration entries (`_target_` and arguments) by name. `columns` names the outputs of the
    network: classes, labels or target columns; `fitted` sets them. B is the size of a batch, C the number of
    columns.
    """

    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    name: ClassVar[str]
    sections: ClassVar[tuple[str, ...]]  # what a report shows of the test
    has_classes: ClassVar[bool] = False  # whether a target is one class
    fits_thresholds: ClassVar[bool] = False  # whether decisions are always fitted to validation images
    losses: ClassVar[str]  # what `loss` may be, for people
    other_losses: ClassVar[tuple[type[nn.Module], ...]] = ()  # that take such targets for something else
    curves: ClassVar[tuple[str, ...]]  # metrics whose learning curves a report shows, beside the loss

    # Targets

    @abstractmethod
    def read(self, values: Mapping[str, str]) -> Target:
        """Return the target in the cells `values` of a table, by column; ValueError with the reason."""

    @abstractmethod
    def fitted(self, targets: Sequence[Target], names: Sequence[str]) -> Self:
        """Return the task for these training targets; `names` are the target columns of a table."""

    @abstractmethod
    def encode(self, target: Target) -> Tensor:
        """Return a target as the tensor that losses and metrics take, without the batch's dimension."""

    @abstractmethod
    def strata(self, targets: Sequence[Target]) -> list[str]:
        """Return for each target the value whose frequency all splits should share."""

    def unknown(self, targets: Sequence[Target]) -> list[str]:
        """Return the classes or labels among targets that the task has no column for."""
        return sorted({name for target in targets for name in target} - set(self.columns))

    # Losses

    @abstractmethod
    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss by which runs are compared, whatever they minimise."""

    @abstractmethod
    def class_weights(self, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return arguments of a loss with which all classes count the same; UserError without classes."""

    def training_loss(self, entry: Mapping[str, Any], targets: Sequence[Target]) -> nn.Module:
        """Build the loss that `entry` names; class weights come from the training targets.

        Raises UserError where the loss does not fit the task.
        """
        arguments = dict(entry)
        balanced = arguments.pop("class_weights", None) == "balanced"
        loss: nn.Module = instantiate(arguments, **(self.class_weights(targets) if balanced else {}))
        images = len(self.columns) + 1  # As many as columns, and the loss of another task could broadcast.
        logits = torch.zeros(images, len(self.columns))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about broadcasting: told better below
                value = loss(logits, torch.zeros(images, dtype=torch.int64) if self.has_classes else logits)
            fits = value.numel() == 1 and not isinstance(loss, self.other_losses)
        except (RuntimeError, ValueError, IndexError):
            fits = False
        if not fits:
            name = entry["_target_"]
            raise UserError(f"loss._target_={name} does not fit task={self.name}: write loss={self.losses}.")
        return loss

    # Metrics

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Return what metrics take, such as probabilities `[B, C]`."""

    def metric_targets(self, targets: Tensor) -> Tensor:
        return targets

    def build_metrics(self) -> MetricCollection:
        """Build the metrics; each gets the number of columns under the name that its class gives it."""
        number = len(self.columns)
        built = {}
        for name, entry in self.metrics.items():
            taken = inspect.signature(get_object(entry["_target_"])).parameters
            sizes = {key: number for key in SIZES if key in taken}
            built[name] = instantiate(entry, **(sizes | {k: v for k, v in entry.items() if k in sizes}))
        return MetricCollection(built)

    # Decision

    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """Return `[B, C]` for people: probabilities, or values in the target's unit."""

    @abstractmethod
    def answer(self, values: Sequence[float]) -> str:
        """Return the decision for one row of `predict`."""

    def decided(self, logits: Tensor, targets: Tensor, calibrate: bool) -> tuple[Self, dict[str, float]]:
        """Fit what turns outputs into decisions to validation logits; return the task and what was fitted."""
        del logits, targets, calibrate
        return self, {}

    def decision_metrics(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return further figures of a split that need all its logits `[N, C]`, such as calibration errors."""
        del logits, targets
        return {}

    # Checkpoints

    def describe(self) -> dict[str, Any]:
        """Return plain containers from which `task_from` rebuilds the task."""
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"_target_": f"{type(self).__module__}.{type(self).__qualname__}", **own}


def task_from(description: Mapping[str, Any], allow: Sequence[str] = ()) -> Task:
    """Rebuild the task that a checkpoint describes; `allow` names further packages that it may import."""
    kind = import_allowed(description["_target_"], allow)
    for entry in description["metrics"].values():
        import_allowed(entry["_target_"], allow)
    values = {key: value for key, value in description.items() if key != "_target_"}
    task: Task = kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    return task


def with_enough(strata: Sequence[str], fewest: int) -> list[str]:
    """Return strata of at least `fewest` images each: small ones become one, or join the largest."""
    counts = Counter(strata)
    rest = sum(count for count in counts.values() if count < fewest)
    joined = "rest" if rest >= fewest or rest == len(strata) else counts.most_common(1)[0][0]
    return [name if counts[name] >= fewest else joined for name in strata]
