"""Measures a trained model on any labelled folder: the work of `scripts/evaluate.py`."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.data.folder import Sample, scan_folder
from graft.data.splits import SPLITS, read_splits
from graft.errors import UserError
from graft.inference.model import Model
from graft.inference.runtimes import load_model
from graft.memory import keep_freed_memory
from graft.tasks.metrics import classification_metrics, expected_calibration_error


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of labelled images: `logits` `[N, num_classes]`, `labels` `[N]`, metrics."""

    samples: list[Sample]
    logits: Tensor
    labels: Tensor
    metrics: dict[str, float]


def evaluate(model: Model, root: Path, samples: list[Sample], batch_size: int) -> Evaluation:
    """Return the model's metrics on the images below `root`, the same as a run's test metrics.

    Raises UserError where the folder's classes are not the model's, or a image cannot be read.
    """
    refuse_other_classes(root, samples, model.class_names)
    logits, labels = scored(model, root, samples, batch_size)
    temperature = None if model.temperature == 1.0 else model.temperature
    return Evaluation(samples, logits, labels, measure(logits, labels, temperature))


def scored(model: Model, root: Path, samples: list[Sample], batch_size: int) -> tuple[Tensor, Tensor]:
    """Return the logits `[N, num_classes]` and the labels `[N]` of images of the model's classes."""
    numbers = {name: number for number, name in enumerate(model.class_names)}
    labels = torch.tensor([numbers[sample.class_name] for sample in samples])
    return model.logits([root / sample.path for sample in samples], batch_size), labels


def measure(logits: Tensor, labels: Tensor, temperature: float | None = None) -> dict[str, float]:
    """Return cross-entropy, accuracy, F1, AUROC and calibration error (ECE), by name.

    All are of the network's own probabilities; with a temperature, `ece_calibrated` is of those with it.
    """
    probabilities = logits.softmax(dim=1)
    metrics = classification_metrics(logits.shape[1])
    metrics.update(probabilities, labels)
    found = {
        "loss": F.cross_entropy(logits, labels).item(),
        **{name: float(value) for name, value in metrics.compute().items()},
        "ece": expected_calibration_error(probabilities, labels),
    }
    if temperature is not None:
        calibrated = (logits / temperature).softmax(dim=1)
        found["ece_calibrated"] = expected_calibration_error(calibrated, labels)
    return found


def labelled_images(
    root: Path, split: str | None, splits_file: Path | None, layout: str = "auto"
) -> list[Sample]:
    """Return the images to measure: those of a split where there are splits, else all.

    The split is `test` where there is one and no other is named. Raises UserError for one that is not there.
    """
    samples = scan_folder(root, layout, needs_train=False)
    if splits_file is not None:
        samples = read_splits(splits_file, samples)
    there = [name for name in SPLITS if name in {sample.split for sample in samples}]
    if not there and split is not None:
        raise UserError(f"split={split}: {root} has no split folders; data.splits=splits.csv names splits.")
    if there and (split or "test") not in there:
        told = f"split={split} is not there" if split else "split=NAME is needed"
        raise UserError(f"{told}: {splits_file or root} has {', '.join(there)}.")
    return [sample for sample in samples if not there or sample.split == (split or "test")]


def refuse_other_classes(root: Path, samples: list[Sample], class_names: list[str]) -> None:
    """Raise a UserError for classes that only the folder has; say which ones only the model has."""
    there = {sample.class_name for sample in samples}
    unknown, missing = sorted(there - set(class_names)), sorted(set(class_names) - there)
    if unknown:
        raise UserError(
            f"data.root={root} has classes that the model does not know: {', '.join(unknown)}. "
            f"The model's classes: {', '.join(class_names)}."
        )
    if missing:
        sys.stderr.write(f"no images of {', '.join(missing)}: the metrics are of the other classes\n")


def write_evaluation(
    checkpoint: Path,
    root: Path,
    split: str | None,
    splits_file: Path | None,
    output: Path | None,
    report: Path | None,
    batch_size: int,
    layout: str = "auto",
) -> Evaluation:
    """Print the model's metrics on a labelled folder.

    They are written as JSON where `output` names a file, and as a page with figures where `report` does.
    """
    keep_freed_memory()
    if output is not None and (output.suffix.lower() != ".json" or not output.parent.is_dir()):
        raise UserError(f"output={output}: it is a .json file in a folder that exists.")
    if report is not None and (report.suffix.lower() != ".html" or not report.parent.is_dir()):
        raise UserError(f"report={report}: it is a .html file in a folder that exists.")
    samples = labelled_images(root, split, splits_file, layout)
    model = load_model(checkpoint)
    found = evaluate(model, root, samples, batch_size)
    width = max(map(len, found.metrics))
    for name, value in found.metrics.items():
        sys.stdout.write(f"{name:<{width}}  {value:.4f}\n")
    sys.stdout.write(f"{len(samples)} images of {root}\n")
    if output is not None:
        output.write_text(
            json.dumps(found.metrics | {"images": len(samples)}, indent=2) + "\n", encoding="utf-8"
        )
    if report is not None:
        from graft.reporting.report.evaluation import (
            write_evaluation_report,  # It loads matplotlib and jinja2.
        )

        given = {"checkpoint": checkpoint, "data.root": root, "data.splits": splits_file, "split": split}
        settings = [shlex.quote(f"{key}={value}") for key, value in given.items() if value is not None]
        command = " ".join(["python scripts/evaluate.py", *settings])
        write_evaluation_report(report, found, model, checkpoint, root, command)
    return found
