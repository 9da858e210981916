"""Compares two finished runs on the same test images: a paired test says whether they differ by chance."""

import csv
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    mean_absolute_error,
    r2_score,
)

from graft.errors import UserError
from graft.reporting.report.statistics import group_numbers, limits, resampled_images


def mean_average_precision(true: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the average precision, averaged over the labels that some images have; NaN without any."""
    occur = np.flatnonzero(true.any(axis=0))
    values = [average_precision_score(true[:, n], probabilities[:, n]) for n in occur]
    return float(np.mean(values)) if values else math.nan


RESAMPLES = 1000
CHANCE = 0.05  # p-values above it are called chance

METRICS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "multiclass": {"accuracy": accuracy_score, "balanced accuracy": balanced_accuracy_score},
    "multilabel": {"average precision (macro)": mean_average_precision},
    "regression": {"MAE": mean_absolute_error, "R²": r2_score},
}


@dataclass(frozen=True)
class Tested:
    """A run's predictions.csv, ordered by path.

    `true` and `values` are what metrics take: classes `[N]`; zeros and ones, and probabilities `[N, C]`; or
    numbers `[N, C]`. `is_right` `[N]` says whether the class or all labels are correct; empty for numbers.
    """

    kind: str
    paths: list[str]
    true: np.ndarray
    values: np.ndarray
    is_right: np.ndarray


def read_tested(run: Path) -> Tested:
    """Read the test of a run; raise UserError where its folder has none."""
    file = run / "predictions.csv"
    if not file.is_file():
        raise UserError(f"{run} has no predictions.csv: write the folder of a finished run.")
    with file.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    paths, cells = [row[0] for row in sorted(rows)], np.array(sorted(rows), dtype=object)[:, 1:]
    is_right = cells[:, 0] == cells[:, 1]
    if header[1:4] == ["label", "predicted", "probability"]:
        return Tested("multiclass", paths, cells[:, 0], cells[:, 1], is_right)
    if header[1:3] == ["labels", "predicted"]:
        between, unprefixed = separator(run), [name.removeprefix("label ") for name in header[3:]]
        # Only a label with the name of a column before it was written with the prefix.
        names = [a if a in header[:3] else b for a, b in zip(unprefixed, header[3:], strict=True)]
        true = np.array([[name in text.split(between) for name in names] for text in cells[:, 0]], dtype=int)
        return Tested("multilabel", paths, true, cells[:, 2:].astype(float), is_right)
    numbers = cells.astype(float)
    return Tested("regression", paths, numbers[:, 0::2], numbers[:, 1::2], is_right[:0])


def separator(run: Path) -> str:
    """Return what stands between the labels in a run's predictions.csv."""
    file = run / ".hydra" / "config.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return str(settings.get("task", {}).get("separator", ";"))


def compare(first: Path, second: Path) -> str:
    """Return the metrics of two runs, the intervals of their differences and, for classes, McNemar's test.

    The intervals are those of a paired bootstrap: a resample takes the same images of both runs. McNemar's
    exact test (1947) looks at the images that only one of the runs gets right. Raises UserError where the
    runs were not tested on the same images with the same targets.
    """
    a, b = read_tested(first), read_tested(second)
    refuse_other_images(first, second, a, b)
    drawn = [n.numpy() for n in resampled_images(group_numbers([""] * len(a.paths)), 0, RESAMPLES)]
    lines = [f"first   {first}", f"second  {second}", ""]
    lines.append(f"{'':<26}{'first':>8}{'second':>9}{'difference':>12}   95 % interval")
    true, *values = (a.true, a.values, b.values)
    if a.kind == "multiclass":  # Numbers are faster to compare than names.
        codes = np.unique(np.stack([true, *values]).astype(str), return_inverse=True)[1]
        true, *values = codes.reshape(3, -1)
    for name, metric in METRICS[a.kind].items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About classes that a resample lacks.
            before, after = (metric(true, one) for one in values)
            low, high = limits([metric(true[i], values[1][i]) - metric(true[i], values[0][i]) for i in drawn])
        interval = "none" if np.isnan(low) else f"{low:+.4f} to {high:+.4f}"
        lines.append(f"{name:<26}{before:>8.4f}{after:>9.4f}{after - before:>+12.4f}   {interval}")
    lines.append(f"{len(a.paths)} test images; paired bootstrap of {len(drawn)} resamples")
    if a.kind != "regression":
        lines.append(mcnemar(a.is_right, b.is_right))
    return "\n".join(lines)


def mcnemar(first: np.ndarray, second: np.ndarray) -> str:
    """Return the result of McNemar's exact test; `first` and `second` `[N]` say what each run gets right."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p = float(binomtest(only_second, discordant).pvalue) if discordant else 1.0
    found = "is more than chance" if p < CHANCE else "may be chance"
    counts = f"{only_second} images are right in the second run only, {only_first} in the first only"
    return f"{counts}:\nthe difference {found} (exact McNemar test, p = {p:.2g})"


def refuse_other_images(first: Path, second: Path, a: Tested, b: Tested) -> None:
    if a.kind != b.kind or a.true.shape[1:] != b.true.shape[1:]:
        raise UserError(f"{first} and {second} have different tasks: compare runs of one task.")
    if a.paths != b.paths:
        both = len(set(a.paths) & set(b.paths))
        numbers = f"{len(a.paths)} and {len(b.paths)}, {both} of them the same"
        cure = f"train the second with data.splits={first}/splits.csv"
        raise UserError(f"{first} and {second} have different test images ({numbers}): {cure}.")
    if not np.array_equal(a.true, b.true):
        raise UserError(f"{first} and {second} have different targets of the same images.")
