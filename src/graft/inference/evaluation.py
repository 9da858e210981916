"""Measures a trained model on labelled images: the work of `scripts/evaluate.py`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.data.sample import SPLITS, Sample
from graft.data.sources import open_source
from graft.data.splits_file import read_splits
from graft.data.tables import read_rows
from graft.errors import UserError
from graft.inference.model import Model
from graft.tasks.regression import Regression
from graft.tasks.task import Task


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts for labelled images: `logits` `[N, C]`, `targets` `[N]` or `[N, C]`, metrics."""

    samples: Sequence[Sample]
    logits: Tensor
    targets: Tensor
    metrics: dict[str, float]


def evaluate(model: Model, root: Path, samples: Sequence[Sample], batch_size: int) -> Evaluation:
    """Return the model's metrics on the images below `root`, the same as a run's test metrics.

    Raises UserError for classes that the model does not know, and for unreadable images.
    """
    refuse_other_columns(root, samples, model.task)
    targets = torch.stack([model.task.encode(sample.target) for sample in samples])
    logits = model.logits([root / sample.path for sample in samples], batch_size)
    return Evaluation(samples, logits, targets, measure(model.task, logits, targets))


def measure(task: Task, logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the plain loss, the task's metrics and its decision metrics by name."""
    metrics = task.build_metrics()
    metrics.update(task.scores(logits), task.metric_targets(targets))
    values = {"loss": float(task.plain_loss(logits, targets))}
    values |= {name: float(value) for name, value in metrics.compute().items()}
    return values | task.decision_metrics(logits, targets)


def labelled_images(
    settings: Mapping[str, Any], task: Task, split: str | None = None, splits_file: Path | None = None
) -> tuple[Path, list[Sample]]:
    """Return the folder and the images to measure on: those of a split where there are splits, else all.

    `settings` are those of `data`. The split is `test` unless another is named. Raises UserError for a split
    that does not exist, and for a model's target columns in another order.
    """
    source = open_source(settings)
    names = tuple(source.target_names(task))
    if isinstance(task, Regression) and names != task.columns and set(names) == set(task.columns):
        raise UserError(f"the model predicts [{','.join(task.columns)}]: write data.target in this order.")
    samples = source.read(task, needs_train=False)
    if splits_file is not None:
        samples = read_splits(splits_file, samples)
    present = [name for name in SPLITS if name in {sample.split for sample in samples}]
    origin = splits_file or settings.get("file") or source.root
    if not present and split is not None:
        raise UserError(f"split={split}: {origin} has no splits; data.splits=splits.csv names splits.")
    if present and (split or "test") not in present:
        problem = f"split={split} does not exist" if split else "split=NAME is needed"
        raise UserError(f"{problem}: {origin} has {', '.join(present)}.")
    chosen = [sample for sample in samples if not present or sample.split == (split or "test")]
    return source.root, chosen


def trained_on(checkpoint: Path, samples: Sequence[Sample]) -> int:
    """Return how many of the images have the path of a training image of the checkpoint's run."""
    splits = checkpoint.parent.parent / "splits.csv"
    if not splits.is_file():
        return 0
    rows = read_rows(splits, errors="surrogateescape")[1].values()
    trained = {row["path"] for row in rows if row.get("split") == "train"}
    return sum(sample.path in trained for sample in samples)


def refuse_other_columns(root: Path, samples: Sequence[Sample], task: Task) -> None:
    """Raise UserError for classes that only the images have; print those that only the model has."""
    targets = [sample.target for sample in samples]
    if isinstance(task, Regression):
        if any(len(target) != len(task.columns) for target in targets):
            names = ",".join(task.columns)
            raise UserError(f"the model predicts [{names}]: write data.target with the columns of these.")
        return
    if unknown := task.unknown(targets):
        raise UserError(
            f"{root} has classes that the model does not know: {', '.join(unknown)}. "
            f"The model's classes: {', '.join(task.columns)}."
        )
    named = {name for target in targets for name in target}
    if missing := [name for name in task.columns if name not in named]:
        left_out = "AUROC and average precision leave them out, F1 may count them as 0"
        sys.stderr.write(f"no images of {', '.join(missing)}: {left_out}\n")
