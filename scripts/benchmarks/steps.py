"""Fine-tuning ResNet18: pictures a second of the training step alone."""

import statistics

from benchmarks.measuring import paired, spread, table

WAYS = (
    "bare loop",
    "bare loop, channels last",
    "bare loop, channels last, memory kept",
    "plain Lightning",
    "Graft",
)


def measure(repetitions: int) -> str:
    """Return the section."""
    runs = paired({way: ["scripts/benchmarks/ways/step.py", way] for way in WAYS}, repetitions)
    speeds = {way: [run.result["speed"] for run in found] for way, found in runs.items()}
    graft = statistics.median(speeds["Graft"])
    rows = [[way, spread(found), f"{graft / statistics.median(found):.2f}"] for way, found in speeds.items()]
    return table(["way", "pictures a second", "Graft / this"], rows)
