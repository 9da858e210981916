"""The page as text: the template, and how it writes numbers and names."""

import math
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import graft
from graft.reporting.report.advice import LOW_RECALL
from graft.reporting.report.statistics import LEAST_GROUPS, Estimate

MOST_LISTED = 10  # groups of equal images
LIBRARIES = ("torchvision", "lightning", "timm")
NAMES = {
    "f1": "F1 (macro)",
    "f1_micro": "F1 (micro)",
    "auroc": "AUROC",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "spearman": "Spearman correlation",
    "ece": "expected calibration error (ECE)",
    "ece_calibrated": "ECE after temperature scaling",
}


def write_page(file: Path, parts: Mapping[str, Any]) -> None:
    """Write the page, with date and versions; what a name holds that is no Unicode is written `\\udcff`."""
    own = {"graft": graft.__version__, "python": platform.python_version(), "torch": torch.__version__}
    page = (
        templates()
        .get_template("report/page.html")
        .render(
            most_listed=MOST_LISTED,
            least_groups=LEAST_GROUPS,
            low_recall=LOW_RECALL,
            date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
            versions=own | {name: version(name) for name in LIBRARIES},
            **parts,
        )
    )
    file.write_text(page, encoding="utf-8", errors="backslashreplace")


def templates() -> Environment:
    """Return the templates of this room, with the filters that write numbers and names."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"share": as_share, "number": as_number, "interval": as_interval}
    found.filters |= {"share_interval": as_share_interval, "metric_name": metric_name}
    return found


def as_share(value: float | None) -> str:
    """Return a share in per cent, a dash where there is none."""
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def as_number(value: float) -> str:
    """Return a number with four digits, a dash where there is none."""
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.4f}"


def as_interval(estimate: Estimate) -> str:
    limits = as_number(estimate.low), as_number(estimate.high)
    return limits[0] if math.isnan(estimate.low) else " to ".join(limits)


def as_share_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return as_share(None)
    return f"{as_share(estimate.value)} ({as_share(estimate.low)} to {as_share(estimate.high)})"


def metric_name(key: str) -> str:
    """Return a metric's name in words; what stands in brackets after it may be a class's, and stays."""
    name, bracket, rest = key.partition(" (")
    words = NAMES.get(name) or " ".join(NAMES.get(word, word) for word in name.split("_"))
    return words + bracket + rest
