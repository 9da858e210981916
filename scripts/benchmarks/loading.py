"""Loading JPEG folders of three sizes: torchvision's ImageFolder and Graft."""

import statistics
from functools import partial
from pathlib import Path

from benchmarks.images import generated
from benchmarks.measuring import WAYS, paired, run, spread, table

SIZES = {"0.2": (512, 384), "2": (1632, 1224), "12": (4000, 3000)}  # megapixels
COUNT = 200
LOADERS = {
    "ImageFolder": "torchvision",
    "Graft": "none",
    "Graft, data.cache=ram": "ram",
    "Graft, data.cache=disk": "disk",
}


def measure(work: Path, repetitions: int) -> str:
    """Return the section: the second epoch, one worker, augmentation=light, batches of 32, 224 pixels."""
    rows = []
    for megapixels, (width, height) in SIZES.items():
        root = generated(work, COUNT, width, height)
        ways = {
            name: partial(run, [f"{WAYS}/load.py", way, str(root), str(work / "cache")])
            for name, way in LOADERS.items()
        }
        runs = paired(ways, repetitions)
        speeds = {name: [run.result["speed"] for run in found] for name, found in runs.items()}
        slowest = statistics.median(speeds["ImageFolder"])
        for name, found in speeds.items():
            rows.append([megapixels, name, spread(found), f"{statistics.median(found) / slowest:.1f}"])
    return table(["megapixels", "way", "images per second", "this / ImageFolder"], rows)
