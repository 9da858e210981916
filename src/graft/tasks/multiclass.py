"""One class an image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from graft.tasks import Target
from graft.tasks.calibration import expected_calibration_error, fit_temperature
from graft.tasks.task import Task


@dataclass(frozen=True)
class Multiclass(Task):
    """Targets are class indices `[B]`, logits `[B, C]`; probabilities are their softmax.

    `temperature` divides the logits before the softmax (Guo et al. 2017); metrics use the network's own.
    `positive` is the rarer of two classes among the training images: its recall is the sensitivity.
    """

    temperature: float = 1.0
    positive: str | None = None

    name = "multiclass"
    has_classes = True
    losses = "cross_entropy or focal"
    sections = ("classes", "confusion", "reliability", "precision_recall", "mistakes", "uncertain")
    curves = ("accuracy",)

    def read(self, values: Mapping[str, str]) -> Target:
        if len(values) != 1:
            raise ValueError("task=multiclass takes one target column")
        (value,) = values.values()
        if not value.strip():
            raise ValueError("the class is empty")
        return (value.strip(),)

    def fitted(self, targets: Sequence[Target], names: Sequence[str]) -> Self:
        del names
        counts = Counter(target[0] for target in targets)
        columns = tuple(sorted(counts))
        rarer = min(reversed(columns), key=lambda name: counts[name]) if len(columns) == 2 else None
        return replace(self, columns=columns, positive=rarer)

    def encode(self, target: Target) -> Tensor:
        return torch.tensor(self.columns.index(target[0]))

    def strata(self, targets: Sequence[Target]) -> list[str]:
        return [target[0] for target in targets]

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    def class_weights(self, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return n / (C * n_class) for every class as `weight`."""
        counts = Counter(target[0] for target in targets)
        return {
            "weight": torch.tensor([len(targets) / (len(counts) * counts[name]) for name in self.columns])
        }

    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    def predict(self, logits: Tensor) -> Tensor:
        return (logits / self.temperature).softmax(dim=1)

    def answer(self, values: Sequence[float]) -> str:
        return self.columns[max(range(len(values)), key=values.__getitem__)]

    def decided(self, logits: Tensor, targets: Tensor, calibrate: bool) -> tuple[Self, dict[str, float]]:
        if not calibrate:
            return self, {}
        temperature = fit_temperature(logits, targets)
        return replace(self, temperature=temperature), {"temperature": temperature}

    def decision_metrics(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the expected calibration error, with the temperature as well where there is one."""
        errors = {"ece": expected_calibration_error(self.scores(logits), targets)}
        if self.temperature != 1.0:
            errors["ece_calibrated"] = expected_calibration_error(self.predict(logits), targets)
        return errors
