"""What a run measures of its predictions."""

import warnings
from typing import Literal

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score
from torchmetrics.functional.classification import multiclass_calibration_error
from torchmetrics.utilities.data import dim_zero_cat

MOST_WAITING = 64  # batches


class MeanAUROC(MulticlassAUROC):
    """The area under the ROC curve, one class against the rest, averaged over the classes that occur.

    torchmetrics' own macro average counts a class without images as 0. NaN where fewer than two
    classes occur.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None)

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the mean over classes that have images, a number between 0 and 1."""
        labels = dim_zero_cat(self.target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About the absent classes, which are left out below.
            areas = super().compute()
        occurs = torch.bincount(labels, minlength=self.num_classes) > 0
        return areas[occurs].mean() if int(occurs.sum()) > 1 else torch.full_like(areas[0], torch.nan)


def classification_metrics(num_classes: int) -> MetricCollection:
    """Return accuracy (micro), F1 (macro) and AUROC (macro, one against the rest)."""
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
            "auroc": MeanAUROC(num_classes),
        }
    )


class Measurements(nn.Module):
    """The mean loss and the classification metrics of an epoch.

    Batches wait until there are some: an update costs as much as a small head's step. Batches without
    probabilities count in the loss alone.
    """

    def __init__(self, num_classes: int, prefix: str) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.scores = classification_metrics(num_classes).clone(prefix=prefix)
        self.prefix = prefix
        self.waiting: list[tuple[Tensor, Tensor | None, Tensor]] = []
        self.has_scores = False

    @property
    def names(self) -> list[str]:
        """The names under which the metrics are logged, such as `val/loss`."""
        return [f"{self.prefix}loss", *map(str, self.scores.keys())]

    def direction(self, name: str) -> Literal["min", "max"] | None:
        """Return whether lower (`min`) or higher (`max`) is better, or None where the metric does not say."""
        if name == f"{self.prefix}loss":
            return "min"  # A mean of losses; torchmetrics' MeanMetric does not know of what.
        better: bool | None = self.scores[name].higher_is_better
        return None if better is None else "max" if better else "min"

    def add(self, loss: Tensor, probabilities: Tensor | None, labels: Tensor) -> None:
        """Take a batch's mean loss `[]`, its probabilities `[B, num_classes]` or None, and labels `[B]`."""
        self.waiting.append((loss.detach(), probabilities, labels))
        self.has_scores = probabilities is not None
        if len(self.waiting) == MOST_WAITING:
            self.update()

    def update(self) -> None:
        """Count the batches that wait."""
        if not self.waiting:
            return
        losses, probabilities, labels = zip(*self.waiting, strict=True)
        sizes = torch.tensor([len(of_batch) for of_batch in labels], device=losses[0].device)
        self.loss.update(torch.stack(losses), weight=sizes)
        if self.has_scores:
            self.scores.update(torch.cat(probabilities), torch.cat(labels))
        self.waiting.clear()

    def log(self, module: L.LightningModule) -> None:
        """Log all of them for the epoch that ends."""
        self.update()
        module.log(f"{self.prefix}loss", self.loss, on_step=False, on_epoch=True)
        if self.has_scores:
            module.log_dict(self.scores, on_step=False, on_epoch=True)


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean gap between confidence and accuracy, 0 to 1, over 15 equal bins (Guo et al. 2017).

    `probabilities` `[N, num_classes]`, `labels` `[N]`; a bin counts by its number of images.
    """
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, labels, classes, n_bins=15, norm="l1"))
