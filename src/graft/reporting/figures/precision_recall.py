"""Precision against recall, a curve for each class."""

from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision, binary_precision_recall_curve

from graft.reporting.figures.names import shortened

MOST_DRAWN = 8  # classes; of more, those with the lowest average precision
# Okabe & Ito's colours, which nearly everybody can tell apart; the lines differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
LINES = ("-", "--", "-.", ":")


def precision_recall_figure(probabilities: Tensor, labels: Tensor, class_names: list[str]) -> Figure:
    """Return the curves of one class against the rest, with their average precision.

    `probabilities` `[N, num_classes]`, `labels` `[N]`. A class without images has no curve.
    """
    there = [number for number in range(len(class_names)) if (labels == number).any()]
    averages = {n: average_precision(probabilities[:, n], labels == n) for n in there}
    drawn = sorted(there, key=averages.__getitem__)[:MOST_DRAWN]
    figure = Figure(figsize=(6.4, 4.6 + 0.12 * len(drawn)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for place, number in enumerate(sorted(drawn)):
        precision, recall, _ = binary_precision_recall_curve(
            probabilities[:, number], (labels == number).long()
        )
        axes.plot(
            recall.numpy(),
            precision.numpy(),
            LINES[place % len(LINES)],
            drawstyle="steps-post",
            color=COLOURS[place],
            label=f"{shortened(class_names[number])} (average {averages[number]:.3f})",
        )
    title = "" if len(drawn) == len(there) else f"the {len(drawn)} of {len(there)} classes that do worst"
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03), title=title)
    axes.grid(alpha=0.25)
    if drawn:
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)  # Curves may lie anywhere inside.
    return figure


def average_precision(scores: Tensor, is_class: Tensor) -> float:
    """Return the area below the curve of one class, 0 to 1."""
    return float(binary_average_precision(scores, is_class.long()))
