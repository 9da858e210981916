"""One number per image, or several."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, SpearmanCorrCoef
from torchmetrics.functional.regression import r2_score
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import Self

from graft.errors import UserError
from graft.tasks import Target
from graft.tasks.task import Task, with_enough

MOST_BINS, FEWEST = 10, 10  # strata, and images in each


@dataclass(frozen=True)
class Regression(Task):
    """Targets are numbers in their own unit `[B, C]`; the network's outputs are normalised.

    `mean` and `std` are those of the training targets, one per column.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    name = "regression"
    losses = "mse, mae or huber"
    other_losses = (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss)
    sections = ("numbers", "mistakes")
    curves = ("mae",)

    def read(self, values: Mapping[str, str]) -> Target:
        for column, value in values.items():
            try:
                is_finite = math.isfinite(float(value))
            except ValueError:
                is_finite = False
            if not is_finite:
                raise ValueError(f"{column} is {value!r}, not a number")
        return tuple(value.strip() for value in values.values())

    def fitted(self, targets: Sequence[Target], names: Sequence[str]) -> Self:
        numbers = torch.tensor([[float(value) for value in target] for target in targets]).double()
        std, mean = torch.std_mean(numbers, dim=0, correction=0)
        for name, spread in zip(names, std.tolist(), strict=True):
            if not spread:
                raise UserError(f"all training images have the same {name}: there is nothing to learn.")
        return replace(
            self, columns=tuple(names), mean=tuple(mean.tolist()), std=tuple(std.clamp(min=1e-12).tolist())
        )

    def encode(self, target: Target) -> Tensor:
        return torch.tensor([float(value) for value in target])

    def strata(self, targets: Sequence[Target]) -> list[str]:
        """Return the quantile of the first number."""
        numbers = torch.tensor([float(target[0]) for target in targets]).double()
        bins = max(1, min(MOST_BINS, len(targets) // FEWEST))
        edges = numbers.quantile(torch.linspace(0, 1, bins + 1).double())[1:-1]
        return with_enough([str(index) for index in torch.bucketize(numbers, edges).tolist()], FEWEST)

    def unknown(self, targets: Sequence[Target]) -> list[str]:
        return []

    def normalised(self, targets: Tensor) -> Tensor:
        mean, std = (targets.new_tensor(values) for values in (self.mean, self.std))
        return (targets - mean) / std

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(logits, self.normalised(targets))

    def class_weights(self, targets: Sequence[Target]) -> dict[str, Tensor]:
        raise UserError("loss.class_weights=balanced is for classes: leave it out with task=regression.")

    def training_loss(self, entry: Mapping[str, object], targets: Sequence[Target]) -> nn.Module:
        return NormalisedLoss(super().training_loss(entry, targets), self)

    def scores(self, logits: Tensor) -> Tensor:
        return self.predict(logits).squeeze(1)

    def metric_targets(self, targets: Tensor) -> Tensor:
        return targets.squeeze(1)

    def predict(self, logits: Tensor) -> Tensor:
        mean, std = (logits.new_tensor(values) for values in (self.mean, self.std))
        return logits * std + mean

    def answer(self, values: Sequence[float]) -> str:
        return ";".join(f"{value:.6g}" for value in values)


class NormalisedLoss(nn.Module):
    """A loss between the network's outputs and normalised targets."""

    def __init__(self, loss: nn.Module, task: Regression) -> None:
        super().__init__()
        self.loss, self.task = loss, task

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self.loss(logits, self.task.normalised(targets))
        return value


class MeanR2(Metric):
    """The share of the variance that is explained (R²), averaged over the target columns.

    torchmetrics' own adds up squares of the targets: in 32 bits, nothing is left of the variance of years.
    NaN for a single image, where its own raises.
    """

    higher_is_better = True
    full_state_update = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take predictions and targets `[B]` or `[B, C]`."""
        self.preds.append(preds)
        self.target.append(target)

    def compute(self) -> Tensor:
        preds, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        if len(target) < 2:
            return torch.full_like(preds.flatten()[0], torch.nan)
        centre = target.mean(dim=0)
        return r2_score(preds - centre, target - centre)


class MeanSpearman(SpearmanCorrCoef):
    """Spearman's rank correlation, averaged over the target columns."""

    def __init__(self, num_columns: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That it keeps all predictions: one number each.
            super().__init__(num_outputs=num_columns)

    def compute(self) -> Tensor:
        return super().compute().mean()
