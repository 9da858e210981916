"""The learning curve of one metric as a figure."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def curve_figure(
    name: str, training: Mapping[int, float], validation: Mapping[int, float], best_epoch: int | None
) -> Figure:
    """Return a metric of the training and the validation images by epoch, counted from 1.

    `best_epoch`, whose checkpoint was kept, is marked.
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    # Blue and vermilion of Okabe & Ito; the dashes tell them apart without colours.
    kinds = (("training", training, "#0072B2", "o--"), ("validation", validation, "#D55E00", "s-"))
    for label, values, colour, line in kinds:
        if values:
            axes.plot(
                list(values),
                list(values.values()),
                line,
                color=colour,
                label=label,
                markersize=4,
                linewidth=2,
            )
    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.5", linewidth=1, linestyle=":", label="best")
    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.legend()
    return figure
