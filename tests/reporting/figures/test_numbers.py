# room: reporting
"""A point an image, and how often which error occurs."""

import numpy as np
from matplotlib.patches import Rectangle

from graft.reporting.figures.plots import predicted_against_true_figure, residual_figure

TRUE, PREDICTED = np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 2.0])


def test_every_image_is_a_point_and_the_diagonal_is_no_error() -> None:
    axes = predicted_against_true_figure(TRUE, PREDICTED, "age").axes[0]
    diagonal, points = axes.lines
    assert np.asarray(diagonal.get_xdata()).tolist() == np.asarray(diagonal.get_ydata()).tolist() == [1, 3]
    assert np.asarray(points.get_xdata()).tolist() == TRUE.tolist()
    assert np.asarray(points.get_ydata()).tolist() == PREDICTED.tolist()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true age", "predicted age")


def test_the_bars_count_the_errors() -> None:
    axes = residual_figure(TRUE, PREDICTED, "age").axes[0]
    boxes = [bar.get_bbox() for bar in axes.patches if isinstance(bar, Rectangle)]
    bars = [(box.x0, box.x1) for box in boxes if box.height]
    assert all(low <= error <= high for (low, high), error in zip(bars, (-1.0, 0.0, 0.5), strict=True))
