"""Curves, matrices and points, in colours that nearly everybody can tell apart (Okabe & Ito)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_precision_recall_curve,
    binary_roc,
)

BLUE, VERMILION = "#0072B2", "#D55E00"
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
LINES = ("-", "--", "-.", ":")  # tell curves apart without colours
MOST_NUMBERED = 20  # classes, from which on the numbers in the cells would be too small to read
MOST_DRAWN = 8  # classes with a curve; of more, those with the lowest average precision
BINS = 15  # of the reliability diagram


def curve_figure(
    name: str, training: Mapping[int, float], validation: Mapping[int, float], best_epoch: int | None
) -> Figure:
    """Draw a metric of the training and the validation images by epoch, counted from 1.

    `best_epoch`, whose checkpoint was kept, is marked.
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    kinds = (("training", training, BLUE, "o--"), ("validation", validation, VERMILION, "s-"))
    for label, values, colour, line in kinds:
        if values:
            epochs, measured = list(values), list(values.values())
            axes.plot(epochs, measured, line, color=colour, label=label, markersize=4, linewidth=2)
    if best_epoch is not None:
        axes.axvline(best_epoch, label="best epoch", **reference())
    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.legend()
    return figure


def confusion_figure(labels: Tensor, predicted: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw the images of every pair of true and predicted class, and their share of the true class.

    `labels` `[N]`, `predicted` `[N]`: class numbers.
    """
    classes = len(class_names)
    counts = np.bincount((labels * classes + predicted).numpy(), minlength=classes**2)
    counts = counts.reshape(classes, classes)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = 2.2 + 0.45 * min(max(classes, 4), 40)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)  # cividis: readable without seeing colours
    size = 10 if classes <= MOST_NUMBERED else 6
    names = [shortened(name) for name in class_names]
    axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    if classes <= MOST_NUMBERED:
        for row, column in np.ndindex(classes, classes):
            shade = "black" if shares[row, column] > 0.48 else "white"
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=size - 1)
    return figure


def class_curves_figure(
    kind: Literal["precision and recall", "ROC"],
    probabilities: Tensor,
    is_class: Tensor,
    class_names: Sequence[str],
) -> Figure:
    """Draw the curves of one class against the rest, with their average precision or area.

    `probabilities` and `is_class` (zeros and ones) `[N, C]`. A class without images has no curve, and no ROC
    curve where all images have it.
    """
    is_roc = kind == "ROC"
    summary, measure = (binary_auroc, "area") if is_roc else (binary_average_precision, "average")
    columns = {n: (probabilities[:, n], is_class[:, n].long()) for n in range(len(class_names))}
    known = {n: c for n, c in columns.items() if c[1].any() and not (is_roc and c[1].all())}
    values = {n: float(summary(*column)) for n, column in known.items()}
    drawn = sorted(values, key=values.__getitem__)[:MOST_DRAWN]
    figure = Figure(figsize=(5.2, 4.4 + 0.12 * len(drawn)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for index, number in enumerate(sorted(drawn)):
        y, x, _ = binary_precision_recall_curve(*columns[number])
        if is_roc:
            x, y, _ = binary_roc(*columns[number])
        label = f"{shortened(class_names[number])} ({measure} {values[number]:.3f})"
        style = LINES[index % len(LINES)]
        line = axes.plot(x.numpy(), y.numpy(), style, color=COLOURS[index], label=label)[0]
        line.set_drawstyle("default" if is_roc else "steps-post")
    if is_roc:
        axes.plot([0, 1], [0, 1], **reference())
    some = len(drawn) < len(values)
    title = f"the {len(drawn)} of {len(values)} classes that do worst" if some else ""
    names = ("1 - specificity", "sensitivity (recall)") if is_roc else ("recall", "precision")
    axes.set(xlabel=names[0], ylabel=names[1], xlim=(-0.01, 1.01), ylim=(0, 1.03), title=title)
    axes.grid(alpha=0.25)
    if drawn:
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)  # Curves may lie anywhere inside.
    return figure


def reliability_figure(
    probabilities: np.ndarray, labels: np.ndarray, calibrated: np.ndarray | None = None
) -> Figure:
    """Draw the accuracy against the confidence, and how many images have which confidence.

    `probabilities` `[N, C]`, `labels` `[N]`; `calibrated` are those with the temperature. A point is the mean
    of one of 15 equal bins of the highest probability; its area is that of its images.
    """
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], label="perfect calibration", **reference())
    kinds = [("this model", probabilities, BLUE, "o--")]
    if calibrated is not None:
        kinds = [("uncalibrated", *kinds[0][1:]), ("with the temperature", calibrated, VERMILION, "s-")]
    for label, shares, colour, line in kinds:
        confidence, accuracy, images = reliability(shares, labels)
        axes.plot(confidence, accuracy, line, color=colour, label=label, linewidth=1.5, markersize=3)
        axes.scatter(confidence, accuracy, 12 + 180 * images / images.sum(), color=colour, alpha=0.6)
        edges = np.linspace(0, 1, BINS + 1)
        counts.hist(shares.max(axis=1), edges, color=colour, histtype="step", linewidth=1.5)
    axes.set(ylabel="observed accuracy", xlim=(0, 1), ylim=(0, 1.03))
    counts.set(xlabel="predicted probability", ylabel="images")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside upper left", ncols=3, fontsize=9, handlelength=1.5)  # Points lie anywhere.
    return figure


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, accuracy and number of images of every bin that has some."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    images = np.bincount(bins, minlength=BINS)
    some = images > 0
    means = [np.bincount(bins, values, BINS)[some] / images[some] for values in (confidence, right)]
    return means[0], means[1], images[some]


def predicted_against_true_figure(true: np.ndarray, predicted: np.ndarray, name: str) -> Figure:
    """Draw a point an image, `true` and `predicted` `[N]` in the target's unit; the diagonal is no error."""
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, label="no error", **reference())
    axes.plot(true, predicted, "o", color=BLUE, markersize=3, alpha=0.5, label="images")
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    axes.grid(alpha=0.25)
    axes.legend()
    return figure


def residual_figure(true: np.ndarray, predicted: np.ndarray, name: str) -> Figure:
    """Draw how many images have which error, predicted minus true."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(predicted - true, bins=30, color=BLUE, alpha=0.8)
    axes.axvline(0, **reference())
    axes.set(xlabel=f"error of {name}", ylabel="images")
    return figure


def reference() -> dict[str, Any]:
    """Return how the line of a perfect model is drawn: in the colour of the axes, light or dark."""
    return {"color": matplotlib.rcParams["axes.edgecolor"], "linewidth": 1.2, "linestyle": ":"}


def shortened(name: str, longest: int = 24) -> str:
    """Return the name without its middle where it has more letters than `longest`: ends tell names apart."""
    kept = longest // 2
    return name if len(name) <= longest else f"{name[:kept]}…{name[-kept + 1 :]}"
