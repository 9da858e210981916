"""What a run measures in an epoch: the mean loss and the task's metrics."""

import warnings
from typing import Literal

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAUROC, MultilabelAUROC, MultilabelAveragePrecision
from torchmetrics.utilities.data import dim_zero_cat

from graft.tasks.task import Task

MOST_WAITING = 64  # batches


class MeanAUROC(MulticlassAUROC):
    """The area under the ROC curve, one class against the rest, averaged over the classes that occur.

    torchmetrics' own macro average counts a class without images as 0. NaN where fewer than two occur.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None)

    def compute(self) -> Tensor:  # type: ignore[override]
        occurs = torch.bincount(dim_zero_cat(self.target), minlength=self.num_classes) > 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About the absent classes, which are left out.
            areas = super().compute()
        return areas[occurs].mean() if int(occurs.sum()) > 1 else torch.full_like(areas[0], torch.nan)


class MeanLabelAUROC(MultilabelAUROC):
    """The area under the ROC curve of each label, averaged over those that some images have and some lack."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels, average=None)

    def compute(self) -> Tensor:  # type: ignore[override]
        share = dim_zero_cat(self.target).float().mean(dim=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            areas = super().compute()
        return areas[(share > 0) & (share < 1)].mean()


class MeanLabelAveragePrecision(MultilabelAveragePrecision):
    """The average precision of each label, averaged over those that some images have (mAP).

    torchmetrics' own macro average counts a label without images as 0.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels, average=None)

    def compute(self) -> Tensor:  # type: ignore[override]
        occurs = dim_zero_cat(self.target).sum(dim=0) > 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            precisions = super().compute()
        return precisions[occurs].mean()


class Measurements(nn.Module):
    """The mean loss and the metrics of an epoch.

    Batches wait until there are some: an update costs as much as a small head's step. Batches without
    scores count in the loss alone.
    """

    def __init__(self, task: Task, prefix: str) -> None:
        super().__init__()
        self.task = task
        self.loss = MeanMetric()
        self.metrics = task.build_metrics().clone(prefix=prefix)
        self.prefix = prefix
        self.waiting: list[tuple[Tensor, Tensor | None, Tensor]] = []
        self.has_scores = False

    @property
    def names(self) -> list[str]:
        """The names under which the metrics are logged, such as `val/loss`."""
        return [f"{self.prefix}loss", *map(str, self.metrics.keys())]

    def direction(self, name: str) -> Literal["min", "max"] | None:
        """Return whether lower (`min`) or higher (`max`) is better, or None where the metric does not say."""
        if name == f"{self.prefix}loss":
            return "min"  # A mean of losses; torchmetrics' MeanMetric does not know of what.
        better: bool | None = self.metrics[name].higher_is_better
        return None if better is None else "max" if better else "min"

    def add(self, loss: Tensor, scores: Tensor | None, targets: Tensor) -> None:
        """Take a batch's mean loss `[]`, its scores (see `Task.scores`) or None, and its targets."""
        self.waiting.append((loss.detach(), scores, targets))
        self.has_scores = scores is not None
        if len(self.waiting) == MOST_WAITING:
            self.update()

    def update(self) -> None:
        if not self.waiting:
            return
        losses, scores, targets = zip(*self.waiting, strict=True)
        sizes = torch.tensor([len(of_batch) for of_batch in targets], device=losses[0].device)
        self.loss.update(torch.stack(losses), weight=sizes)
        if self.has_scores:
            self.metrics.update(torch.cat(scores), self.task.metric_targets(torch.cat(targets)))
        self.waiting.clear()

    def log(self, module: L.LightningModule) -> None:
        self.update()
        module.log(f"{self.prefix}loss", self.loss, on_step=False, on_epoch=True)
        if self.has_scores:
            module.log_dict(self.metrics, on_step=False, on_epoch=True)
