"""The curves are scikit-learn's; of many classes the worst are drawn."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve

from graft.reporting.figures.precision_recall import precision_recall_figure


def scores(classes: int, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    logits = torch.randn(count, classes, generator=chance)
    logits[torch.arange(count), labels] += 1
    return logits.softmax(dim=1), labels


def test_the_curves_are_scikit_learns() -> None:
    probabilities, labels = scores(3)
    axes = precision_recall_figure(probabilities, labels, ["a", "b", "c"]).axes[0]
    for number, line in enumerate(axes.lines):
        truth, shares = (labels == number).numpy(), probabilities[:, number].numpy()
        precision, recall, _ = precision_recall_curve(truth, shares)
        assert np.allclose(np.asarray(line.get_xdata()), recall, atol=1e-6)
        assert np.allclose(np.asarray(line.get_ydata()), precision, atol=1e-6)
        assert f"{average_precision_score(truth, shares):.3f}" in str(line.get_label())


def test_of_many_classes_the_worst_are_drawn_and_absent_ones_are_not() -> None:
    probabilities, labels = scores(12)
    names = [f"class {number}" for number in range(13)]
    figure = precision_recall_figure(torch.nn.functional.pad(probabilities, (0, 1)), labels, names)
    assert len(figure.axes[0].lines) == 8
    assert figure.axes[0].get_title() == "the 8 of 12 classes that do worst"
