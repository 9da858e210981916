"""Figures of a sweep: learning curves, parallel coordinates, and the metric by the value of each setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from graft.reporting.figures.plots import COLOURS, LINES, shortened

GREY = "0.6"
MOST_COLOURED = 6  # configurations; the others' curves are grey
MANY = 20  # times the smallest value, from which on positive numbers are drawn by their logarithm
MOST_TICKS = 9  # of different values on an axis; of more, some are named


@dataclass(frozen=True)
class Scale:
    """Where the values of a setting are on an axis from 0 to 1, and which of them are named."""

    positions: Sequence[float]  # of every job
    ticks: Mapping[str, float]
    is_numeric: bool


def scale_of(values: Sequence[str]) -> Scale:
    """Return numbers by size (by their logarithm where they differ much), other values side by side."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        names = list(dict.fromkeys(values))
        places = {name: (index + 0.5) / len(names) for index, name in enumerate(names)}
        return Scale([places[value] for value in values], thinned(places), False)
    if numbers.min() > 0 and numbers.max() >= MANY * numbers.min():
        numbers = np.log(numbers)
    span = numbers.max() - numbers.min() or 1.0
    positions = ((numbers - numbers.min()) / span).tolist()
    return Scale(
        positions, thinned(dict(sorted(zip(values, positions, strict=True), key=lambda p: p[1]))), True
    )


def thinned(places: Mapping[str, float]) -> dict[str, float]:
    step = -(-len(places) // MOST_TICKS)
    return {shortened(name): place for name, place in list(places.items())[::step]}


def curves_figure(metric: str, curves: Mapping[str, Sequence[Mapping[int, float]]]) -> Figure:
    """Draw a metric by epoch: the curves of the runs by the name of their configuration, the best first."""
    figure = Figure(figsize=(6.4, 3.8 + 0.22 * min(len(curves), MOST_COLOURED)), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, runs) in reversed(list(enumerate(curves.items()))):
        is_coloured = index < MOST_COLOURED
        colour, line = (COLOURS[index], LINES[index % len(LINES)]) if is_coloured else (GREY, "-")
        for number, run in enumerate(runs):
            label = shortened(name, 60) if is_coloured and number == 0 else None
            axes.plot(list(run), list(run.values()), f"o{line}", color=colour, markersize=3, label=label)
    axes.set(xlabel="epoch", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", fontsize=9)
    return figure


def parallel_figure(
    metric: str, settings: Mapping[str, Sequence[str]], measured: Sequence[float], lower_is_better: bool
) -> Figure:
    """Draw a line per run through its settings to its metric: the better, the more opaque; the best is thick.

    `settings`: the values of every setting, one per run; `measured`: the metric of every run.
    """
    scales = [scale_of(values) for values in settings.values()]
    low, high = min(measured), max(measured)
    heights = [(value - low) / ((high - low) or 1.0) for value in measured]
    figure = Figure(figsize=(1.7 * (len(scales) + 1) + 0.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    better = [1 - height if lower_is_better else height for height in heights]
    for number in sorted(range(len(heights)), key=better.__getitem__):
        line = [*(scale.positions[number] for scale in scales), heights[number]]
        axes.plot(range(len(line)), line, color=COLOURS[0], linewidth=1.3, alpha=0.35 + 0.6 * better[number])
        if better[number] == 1:
            axes.plot(range(len(line)), line, color=COLOURS[1], linewidth=3.5)
    ends = {f"{low:.4g}": 0.0, f"{high:.4g}": 1.0}
    for place, ticks in enumerate([*(scale.ticks for scale in scales), ends]):
        axes.axvline(place, color="0.5", linewidth=1)
        for name, height in ticks.items():
            axes.annotate(name, (place, height), (5, 0), "data", "offset points", va="center", fontsize=9)
    axes.set_xticks(range(len(scales) + 1), [*map(shortened, settings), metric])
    axes.set(yticks=[], xlim=(-0.1, len(scales) + 0.6), ylim=(-0.05, 1.05))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def effects_figure(metric: str, settings: Mapping[str, Sequence[str]], measured: Sequence[float]) -> Figure:
    """Draw the metric of every run by the value of each setting, with the mean of each value."""
    columns = min(3, len(settings))
    rows = -(-len(settings) // columns)
    figure = Figure(figsize=(0.6 + 3.0 * columns, 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (key, values) in zip(grid.flat, settings.items(), strict=False):
        draw_effect(axes, scale_of(values), values, measured)
        axes.set_xlabel(shortened(key))
    for axes in grid[:, 0]:
        axes.set_ylabel(metric)
    for axes in list(grid.flat)[len(settings) :]:
        axes.set_visible(False)
    return figure


def draw_effect(axes: Axes, scale: Scale, values: Sequence[str], measured: Sequence[float]) -> None:
    axes.plot(scale.positions, measured, "o", color=COLOURS[0], alpha=0.5, markersize=5)
    means: dict[float, list[float]] = {}
    for position, value in zip(scale.positions, measured, strict=True):
        means.setdefault(position, []).append(value)
    if len(means) < len(values):
        places = sorted(means)
        line = "-" if scale.is_numeric else ""
        axes.plot(
            places, [np.mean(means[p]) for p in places], f"_{line}", color=COLOURS[1], markersize=16, mew=2
        )
    axes.set_xticks(list(scale.ticks.values()), list(scale.ticks), rotation=25, ha="right", fontsize=9)
    axes.set_xlim(-0.1, 1.1)
    axes.grid(alpha=0.25)
