"""The reliability diagram as a figure: do probabilities mean what they say?"""

import numpy as np
from matplotlib.figure import Figure

BINS = 15


def reliability_figure(
    probabilities: np.ndarray, labels: np.ndarray, calibrated: np.ndarray | None = None
) -> Figure:
    """Return the accuracy against the confidence, and how many images have which confidence.

    `probabilities` `[N, num_classes]`, `labels` `[N]`; `calibrated` are those with the temperature. A
    point is the mean of one of 15 equal bins of the highest probability; its area is that of its images.
    """
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], ":", color="0.5", linewidth=1, label="says what is true")
    edges = np.linspace(0, 1, BINS + 1)
    own = "the network's own" if calibrated is not None else "these images"
    for label, shares, colour, line in (
        (own, probabilities, "#0072B2", "o--"),
        ("with the temperature", calibrated, "#D55E00", "s-"),
    ):
        if shares is None:
            continue
        confidence, accuracy, images = reliability(shares, labels)
        axes.plot(confidence, accuracy, line, color=colour, label=label, linewidth=1.5, markersize=3)
        axes.scatter(confidence, accuracy, 12 + 180 * images / images.sum(), color=colour, alpha=0.6)
        counts.hist(shares.max(axis=1), edges, color=colour, histtype="step", linewidth=1.5)
    axes.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.03))
    counts.set(xlabel="highest probability", ylabel="images")
    axes.grid(alpha=0.25)
    figure.legend(
        loc="outside upper left", ncols=3, fontsize=9, handlelength=1.5
    )  # Points may lie anywhere inside.
    return figure


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, accuracy and number of images of every bin that has some."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    images = np.bincount(places, minlength=BINS)
    there = images > 0
    means = [np.bincount(places, values, BINS)[there] / images[there] for values in (confidence, right)]
    return means[0], means[1], images[there]
