"""Fine-tuning ResNet18: images a second of the training step alone."""

import statistics
from functools import partial

from benchmarks.measuring import WAYS, paired, run, spread, table

LOOPS = (
    "bare loop",
    "bare loop, channels last",
    "bare loop, channels last, memory kept",
    "plain Lightning",
    "Graft",
)


def measure(repetitions: int) -> str:
    """Return the section."""
    runs = paired({way: partial(run, [f"{WAYS}/step.py", way]) for way in LOOPS}, repetitions)
    speeds = {way: [run.result["speed"] for run in found] for way, found in runs.items()}
    graft = statistics.median(speeds["Graft"])
    rows = [[way, spread(found), f"{graft / statistics.median(found):.2f}"] for way, found in speeds.items()]
    return table(["way", "images a second", "Graft / this"], rows)
