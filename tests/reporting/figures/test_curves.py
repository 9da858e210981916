# room: reporting
"""The curves are what was logged, and one epoch is enough."""

import numpy as np

from graft.reporting.figures.plots import curve_figure


def test_both_curves_and_the_best_epoch_are_drawn() -> None:
    axes = curve_figure("loss", {1: 0.5, 2: 0.4}, {1: 0.6, 2: 0.7}, best_epoch=1).axes[0]
    training, validation, best = axes.lines
    assert np.asarray(training.get_ydata()).tolist() == [0.5, 0.4]
    assert np.asarray(validation.get_ydata()).tolist() == [0.6, 0.7]
    assert np.asarray(best.get_xdata()).tolist() == [1, 1]


def test_what_was_not_logged_is_left_out() -> None:
    axes = curve_figure("accuracy", {}, {3: 0.9}, best_epoch=None).axes[0]
    assert [line.get_label() for line in axes.lines] == ["validation"]
