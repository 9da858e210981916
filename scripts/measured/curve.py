"""Draws the accuracy over the number of training images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def draw_curve(file: Path, ways: Mapping[str, Mapping[int, Sequence[float]]]) -> None:
    """Draw mean and standard deviation over seeds; `ways` has the accuracies by way and images of a class."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, found in ways.items():
        images = sorted(found)
        mean = np.array([np.mean(found[number]) for number in images])
        deviation = np.array([np.std(found[n], ddof=1) if len(found[n]) > 1 else 0.0 for n in images])
        (line,) = axes.plot(images, mean, marker="o", markersize=4, label=name)
        axes.fill_between(images, mean - deviation, mean + deviation, alpha=0.15, color=line.get_color())
    axes.set_xscale("log")
    ticks = sorted({number for found in ways.values() for number in found})
    axes.set_xticks(ticks, [str(number) for number in ticks])
    axes.minorticks_off()
    axes.set_xlabel("images of each class, for training and validation")
    axes.set_ylabel("test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file)
