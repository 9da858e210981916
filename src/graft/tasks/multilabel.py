"""Any number of labels per image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_precision_recall_curve
from typing_extensions import Self

from graft.errors import UserError
from graft.tasks import Target
from graft.tasks.task import Task, with_enough

YES, NO = ("1", "1.0", "true", "yes", "y", "t"), ("0", "0.0", "false", "no", "n", "f", "")
FEWEST = 10  # images with the same labels that form a stratum of their own


@dataclass(frozen=True)
class Multilabel(Task):
    """Targets are zeros and ones `[B, C]`, logits `[B, C]`; probabilities are their sigmoid.

    An image has the labels whose probability is at least their threshold; `thresholds` are fitted to the
    validation split and 0.5 before. `separator` stands between the labels in a table's single column.
    """

    separator: str = ";"
    thresholds: tuple[float, ...] = ()

    name = "multilabel"
    fits_thresholds = True
    losses = "binary_cross_entropy or focal"
    other_losses = (nn.CrossEntropyLoss,)  # It would take the labels for probabilities of one class.
    sections = ("classes", "precision_recall", "mistakes")
    curves = ("average_precision",)

    def read(self, values: Mapping[str, str]) -> Target:
        if len(values) > 1:
            return tuple(sorted(name for name, value in values.items() if is_yes(name, value)))
        (text,) = values.values()
        if text.strip().startswith("{"):  # Label Studio
            labels = json.loads(text).get("choices")
            if not isinstance(labels, list):
                raise ValueError("the cell holds JSON without choices")
        else:
            labels = text.split(self.separator)
        return tuple(sorted({str(label).strip() for label in labels if label is not None} - {""}))

    def fitted(self, targets: Sequence[Target], names: Sequence[str]) -> Self:
        labels = set(names) if len(names) > 1 else set()
        columns = tuple(sorted(labels.union(*targets)))
        if len(names) == 1 and set(map(str.lower, columns)) <= {*YES, *NO}:
            only = f"no labels but {', '.join(columns)}" if columns else "no labels"
            raise UserError(
                f"the training images have {only}: for yes or no, write task=multiclass; for a column per "
                "label, name several in data.target."
            )
        return replace(self, columns=columns, thresholds=(0.5,) * len(columns))

    def encode(self, target: Target) -> Tensor:
        return torch.tensor([float(name in target) for name in self.columns])

    def strata(self, targets: Sequence[Target]) -> list[str]:
        return with_enough([" ".join(target) for target in targets], FEWEST)

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets)

    def class_weights(self, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return images without the label over images with it, for every label, as `pos_weight`."""
        counts = [sum(name in target for target in targets) for name in self.columns]
        return {"pos_weight": torch.tensor([(len(targets) - n) / max(1, n) for n in counts])}

    def scores(self, logits: Tensor) -> Tensor:
        """Return probabilities, stretched so that the threshold of every label lies at 0.5.

        The order of the images by one label stays, and with it average precision and AUROC.
        """
        probabilities = logits.sigmoid()
        limits = torch.tensor(self.thresholds, device=logits.device, dtype=logits.dtype)
        above = 0.5 + (probabilities - limits) / (1 - limits) / 2
        return torch.where(probabilities >= limits, above, probabilities / limits / 2)

    def metric_targets(self, targets: Tensor) -> Tensor:
        return targets.long()

    def predict(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def answer(self, values: Sequence[float]) -> str:
        named = zip(self.columns, values, self.thresholds, strict=True)
        return self.separator.join(name for name, value, limit in named if value >= limit)

    def decided(self, logits: Tensor, targets: Tensor, calibrate: bool) -> tuple[Self, dict[str, float]]:
        """Fit each label's threshold: the one with the highest F1 on validation images."""
        del calibrate
        probabilities = logits.float().sigmoid()
        thresholds = tuple(
            best_threshold(probabilities[:, n], targets[:, n].long()) for n in range(len(self.columns))
        )
        named = zip(self.columns, thresholds, strict=True)
        return replace(self, thresholds=thresholds), {f"threshold/{name}": value for name, value in named}


def is_yes(column: str, value: str) -> bool:
    text = value.strip().lower()
    if text not in (*YES, *NO):
        raise ValueError(f"{column} is {value!r}, neither 1 nor 0")
    return text in YES


def best_threshold(probabilities: Tensor, targets: Tensor) -> float:
    """Return the middle of the gap below the probability at which F1 is highest; 0.5 without positives."""
    if not targets.any() or targets.all():
        return 0.5
    precision, recall, thresholds = binary_precision_recall_curve(probabilities, targets)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    best = float(thresholds[f1[:-1].argmax()])
    lower = probabilities[probabilities < best]
    middle = (best + float(lower.max())) / 2 if len(lower) else best / 2
    return min(max(middle, 1e-6), 1 - 1e-6)
