# room: reporting
"""The confusion matrix shows the images and their share of the true class, and stays legible."""

import numpy as np
import torch

from graft.reporting.figures.plots import confusion_figure


def test_the_cells_are_images_and_shares_of_the_row() -> None:
    figure = confusion_figure(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]), ["cat", "dog"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["2\n67%", "1\n33%", "0\n0%", "1\n100%"]
    assert np.allclose(np.asarray(axes.images[0].get_array()), np.array([[2 / 3, 1 / 3], [0, 1]]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


def test_many_classes_have_no_numbers_in_their_cells() -> None:
    labels = torch.arange(30)
    figure = confusion_figure(labels, labels, [f"class {n}" for n in range(30)])
    assert not figure.axes[0].texts
