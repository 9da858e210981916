"""Fine-tuning: images per second of the training step alone."""

import statistics
from collections.abc import Sequence
from functools import partial

from benchmarks.measuring import WAYS, paired, run, spread, table

LOOPS = (
    "bare loop",
    "bare loop, channels last",
    "bare loop, channels last, memory kept",
    "plain Lightning",
    "Graft",
)


# network, norm layers, what to compare
TABLES = (
    ("resnet18", "train", "ResNet18:", LOOPS),
    (
        "efficientnet_lite0",
        "frozen",
        "EfficientNet-Lite0 with frozen norms, which Graft folds into the convolutions:",
        (LOOPS[1], LOOPS[2], LOOPS[4]),
    ),
)


def measure(repetitions: int) -> str:
    """Return the section."""
    return "\n\n".join(part for given in TABLES for part in compared(repetitions, *given))


def compared(repetitions: int, name: str, norm: str, title: str, loops: Sequence[str]) -> tuple[str, str]:
    """Return a title and the table below it."""
    runs = paired({way: partial(run, [f"{WAYS}/step.py", way, name, norm]) for way in loops}, repetitions)
    speeds = {way: [run.result["speed"] for run in found] for way, found in runs.items()}
    graft = statistics.median(speeds["Graft"])
    rows = [[way, spread(found), f"{graft / statistics.median(found):.2f}"] for way, found in speeds.items()]
    return title, table(["way", "images per second", "Graft / this"], rows)
