"""The confusion matrix as a figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from graft.reporting.figures.names import shortened

MOST_NUMBERED = 20  # classes, from which on the numbers in the cells would be too small to read


def confusion_figure(labels: Tensor, predicted: Tensor, class_names: Sequence[str]) -> Figure:
    """Return the counts of every pair of true and predicted class; the shade is the share of the true class.

    `labels` `[N]`, `predicted` `[N]`: class numbers.
    """
    classes = len(class_names)
    counts = np.bincount((labels * classes + predicted).numpy(), minlength=classes**2)
    counts = counts.reshape(classes, classes)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = 2.2 + 0.45 * min(max(classes, 4), 40)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)  # cividis: readable without seeing colours
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    size = 10 if classes <= MOST_NUMBERED else 6
    names = [shortened(name) for name in class_names]
    axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    if classes <= MOST_NUMBERED:
        for row, column in np.ndindex(classes, classes):
            shade = "black" if shares[row, column] > 0.48 else "white"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=shade)
    return figure
