# room: reporting
"""The curves are scikit-learn's; of many classes the worst are drawn."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from torch.nn.functional import one_hot, pad

from graft.reporting.figures.plots import class_curves_figure


def scores(classes: int, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    logits = torch.randn(count, classes, generator=chance)
    logits[torch.arange(count), labels] += 1
    return logits.softmax(dim=1), one_hot(labels, classes)


def test_the_curves_are_scikit_learns() -> None:
    probabilities, is_class = scores(3)
    axes = class_curves_figure("precision and recall", probabilities, is_class, ["a", "b", "c"]).axes[0]
    for number, line in enumerate(axes.lines):
        truth, shares = is_class[:, number].numpy(), probabilities[:, number].numpy()
        precision, recall, _ = precision_recall_curve(truth, shares)
        assert np.allclose(np.asarray(line.get_xdata()), recall, atol=1e-6)
        assert np.allclose(np.asarray(line.get_ydata()), precision, atol=1e-6)
        assert f"{average_precision_score(truth, shares):.3f}" in str(line.get_label())


def test_of_many_classes_the_worst_are_drawn_and_absent_ones_are_not() -> None:
    probabilities, is_class = (pad(values, (0, 1)) for values in scores(12))
    figure = class_curves_figure(
        "precision and recall", probabilities, is_class, [f"class {number}" for number in range(13)]
    )
    assert len(figure.axes[0].lines) == 8
    assert figure.axes[0].get_title() == "the 8 of 12 classes that do worst"


def test_the_roc_curves_are_scikit_learns_and_a_class_of_all_images_has_none() -> None:
    probabilities, is_class = scores(3)
    is_class[:, 2] = 1
    lines = class_curves_figure("ROC", probabilities, is_class, ["a", "b", "all"]).axes[0].lines
    assert len(lines) == 2 + 1  # and the diagonal
    at = np.linspace(0, 1, 50)
    for number in range(2):
        truth, shares = is_class[:, number].numpy(), probabilities[:, number].numpy()
        x, y = np.asarray(lines[number].get_xdata()), np.asarray(lines[number].get_ydata())
        expected = roc_curve(truth, shares)
        assert np.allclose(np.interp(at, x, y), np.interp(at, expected[0], expected[1]), atol=1e-6)
        assert f"{roc_auc_score(truth, shares):.3f}" in str(lines[number].get_label())
