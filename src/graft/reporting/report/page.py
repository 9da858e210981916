"""The parts of the page that every tested model has, and the page as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined

from graft.data.folder import Sample
from graft.inference.explanation import Overlays
from graft.reporting.figures.confusion import confusion_figure
from graft.reporting.figures.reliability import reliability_figure
from graft.reporting.report.charts import inline_svg
from graft.reporting.report.images import Shown, confident_mistakes, data_uri, least_certain, thumbnails
from graft.reporting.report.statistics import (
    LEAST_GROUPS,
    Estimate,
    class_figures,
    estimates,
    frequent_confusions,
    with_temperature,
)
from graft.tasks.metrics import expected_calibration_error

MOST_IN_MATRIX = 60  # classes; a larger matrix cannot be read on a page
MOST_CONFUSIONS = 10
MOST_LISTED = 10  # groups of equal images

Parts = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """What a model made of labelled images: the network's own `probabilities` `[N, C]`, `labels` `[N]`."""

    root: Path
    samples: Sequence[Sample]
    class_names: Sequence[str]
    probabilities: np.ndarray
    labels: np.ndarray
    overlays: Overlays
    temperature: float | None = None  # of a calibrated model
    seed: int = 0  # of the bootstrap


def parts_of_test(tested: Scored) -> Parts:
    """Return what the page says about the test: metrics, classes, figures and images."""
    names, labels = tested.class_names, tested.labels
    predicted = tested.probabilities.argmax(axis=1)
    units = [sample.unit for sample in tested.samples]
    rows = class_figures(labels, predicted, names, units)
    calibrated = None
    if tested.temperature is not None:
        calibrated = with_temperature(tested.probabilities, tested.temperature)
    return {
        "class_names": names,
        "tested": len(labels),
        "tested_groups": count_groups(tested.samples),
        "estimates": estimates(tested.probabilities, labels, tested.seed, units),
        "majority": max(row.images for row in rows) / len(labels),
        "temperature": tested.temperature,
        "ece": calibration_error(tested.probabilities, labels),
        "ece_calibrated": None if calibrated is None else calibration_error(calibrated, labels),
        "classes": rows,
        "confusions": frequent_confusions(labels, predicted, names, MOST_CONFUSIONS),
        "confusion": matrix(labels, predicted, names),
        "reliability": inline_svg(
            lambda: reliability_figure(tested.probabilities, labels, calibrated), "Reliability diagram"
        ),
        **image_parts(tested),
    }


def count_groups(samples: Sequence[Sample]) -> int | None:
    """Return how many groups the images are of, those without one counted each; None where none has one."""
    if not any(sample.unit for sample in samples):
        return None
    return len({("unit", sample.unit) if sample.unit else ("image", sample.path) for sample in samples})


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the ECE, as `graft.tasks.metrics` measures it."""
    return expected_calibration_error(
        torch.from_numpy(probabilities.astype(np.float32)), torch.from_numpy(labels)
    )


def matrix(labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> str:
    """Return the confusion matrix as SVG; nothing where there are too many classes for a page."""
    if len(class_names) > MOST_IN_MATRIX:
        return ""
    numbers = torch.from_numpy(labels), torch.from_numpy(predicted)
    return inline_svg(lambda: confusion_figure(*numbers, class_names), "Confusion matrix")


def image_parts(tested: Scored) -> Parts:
    """Return the mistakes and the uncertain images, with overlays where there can be some."""
    mistakes = confident_mistakes(tested.probabilities, tested.labels)
    uncertain = least_certain(tested.probabilities)
    paths = {place: tested.root / tested.samples[place].path for place in (*mistakes, *uncertain)}
    found = thumbnails(paths.values())
    drawn = tested.overlays.of([path for path in paths.values() if found[path]])
    seen = {path: data_uri(image) for path, image in drawn.items()}

    def shown(place: int) -> Shown:
        shares, path = tested.probabilities[place], paths[place]
        names = tested.class_names[tested.labels[place]], tested.class_names[shares.argmax()]
        image, overlay = found[path], seen.get(path, "")
        return Shown(tested.samples[place].path, *names, float(shares.max()), image, overlay)

    return {
        "mistakes": [shown(place) for place in mistakes],
        "uncertain": [shown(place) for place in uncertain],
        "why_no_overlays": tested.overlays.why_none,
    }


def write_page(file: Path, parts: Mapping[str, Any]) -> None:
    """Write the page; what a name holds that is no Unicode is written as `\\udcff`."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"share": as_share, "number": as_number, "interval": as_interval}
    environment.filters["share_interval"] = as_share_interval
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    page = template.render(most_listed=MOST_LISTED, least_groups=LEAST_GROUPS, **parts)
    file.write_text(page, encoding="utf-8", errors="backslashreplace")


def as_share(value: float | None) -> str:
    """Return a share in per cent, a dash where there is none."""
    return "\N{EN DASH}" if value is None or np.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def as_number(value: float | None) -> str:
    """Return a number with four digits, a dash where there is none."""
    return "\N{EN DASH}" if value is None or np.isnan(value) else f"{value:.4f}"


def as_interval(estimate: Estimate) -> str:
    """Return the limits of an interval, a dash where there are none."""
    limits = [as_number(limit) for limit in (estimate.low, estimate.high)]
    return limits[0] if np.isnan(estimate.low) else " to ".join(limits)


def as_share_interval(estimate: Estimate | None) -> str:
    """Return a share and its interval in per cent, a dash where there is none."""
    if estimate is None:
        return as_share(None)
    low, high = as_share(estimate.low), as_share(estimate.high)
    return f"{as_share(estimate.value)} ({low} to {high})"
