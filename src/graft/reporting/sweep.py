"""The page of a sweep: its table, learning curves, parallel coordinates, and what mattered."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from graft.finished_run import SEED, SweepJob
from graft.reporting.figures.sweeps import curves_figure, effects_figure, parallel_figure, scale_of
from graft.reporting.report.charts import inline_svg
from graft.reporting.report.page import templates

LEAST_RESULTS = 4  # that can say what a setting explains


def write_sweep_page(
    file: Path, jobs: Sequence[SweepJob], keys: Sequence[str], table: Sequence[Sequence[str]], command: str
) -> Path:
    """Write the page as one HTML file and return the file.

    `jobs`: those that finished, the best configuration first; `keys`: the settings that differ between them;
    `table`: its header and rows; `command` repeats the best run.
    """
    page = (
        templates()
        .get_template("sweep.html")
        .render(
            title=f"Sweep {file.parent.name}",
            date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
            table=table,
            command=command,
            **figures(jobs, keys, table[0][0]),
        )
    )
    file.write_text(page, encoding="utf-8", errors="backslashreplace")
    return file


def figures(jobs: Sequence[SweepJob], keys: Sequence[str], metric: str) -> dict[str, Any]:
    """Return the page's figures, and how much of the metric's variance each setting explains."""
    curves: dict[str, list[Mapping[int, float]]] = {}
    for job in jobs:
        curves.setdefault(job.described([key for key in keys if key != SEED]), []).append(job.curve)
    parts: dict[str, Any] = {
        "curves": inline_svg(partial(curves_figure, metric, curves), f"{metric} by epoch"),
        "parallel": None,
        "effects": [],
    }
    measured = [job for job in jobs if math.isfinite(job.validation)]
    values = [job.validation for job in measured]
    settings = {key: [job.settings.get(key, "-") for job in measured] for key in keys}
    settings = {key: chosen for key, chosen in settings.items() if len(set(chosen)) > 1}
    if settings:
        draw = partial(parallel_figure, metric, settings, values, measured[0].lower_is_better)
        parts["parallel"] = inline_svg(draw, f"the settings of every run, and its {metric}")
        draw = partial(effects_figure, metric, settings, values)
        parts["mattered"] = inline_svg(draw, f"{metric} by the value of each setting")
        explained = {key: explained_share(chosen, values) for key, chosen in settings.items()}
        parts["effects"] = sorted(explained.items(), key=lambda pair: -1 if pair[1] is None else -pair[1])
    return parts


def explained_share(values: Sequence[str], measured: Sequence[float]) -> float | None:
    """Return the share of the variance of `measured` that a setting with these values explains by itself.

    It is adjusted for what chance explains (epsilon squared: Kelley 1935). Of numbers that hardly repeat it
    is the square of Spearman's rank correlation, adjusted alike; None of other values that hardly repeat, and
    of fewer than four results.
    """
    groups: dict[str, list[float]] = {}
    for value, result in zip(values, measured, strict=True):
        groups.setdefault(value, []).append(result)
    if len(measured) < LEAST_RESULTS:
        return None
    total = float(np.var(measured)) * len(measured)
    if total == 0:
        return 0.0
    if 2 * len(groups) > len(measured):
        scale = scale_of(values)
        if not scale.is_numeric:
            return None
        free = len(measured) - 2
        unexplained = 1 - float(spearmanr(scale.positions, measured).statistic) ** 2
    else:
        free = len(measured) - len(groups)
        unexplained = sum(float(np.var(group)) * len(group) for group in groups.values()) / total
    return max(0.0, 1 - unexplained * (len(measured) - 1) / free)
