"""Growth: time and peak memory of a frozen run with 1,000, 10,000 and 100,000 small pictures."""

import json
import re
import shutil
from pathlib import Path

from benchmarks.measuring import PROJECT, Run, run, table
from benchmarks.pictures import generated

COUNTS = (1_000, 10_000, 100_000)
EPOCHS = 3
TINY = ["model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"]


def measure(work: Path) -> str:
    """Return the section: a tiny network with random weights, pictures of 32 pixels, a fresh cache."""
    rows, base = [], 0.0
    for count in COUNTS:
        root = generated(work, count, 32, 32)
        shutil.rmtree(work / "cache", ignore_errors=True)
        # The second run finds listing, hashes and features; what it takes besides is the head's training.
        for name in ("first", "again"):
            done, seconds = frozen_run(root, work)
            base = done.memory if (count, name) == (10_000, "first") else base
            growth = f"{done.memory / base - 1:+.0%}" if base else ""
            rows.append(
                [f"{count:,}", name, f"{done.seconds:.1f}", seconds, f"{done.memory / 1e6:.0f}", growth]
            )
    header = ["pictures", "run", "whole process, s", "feature pass, s", "peak memory, MB", "against 10,000"]
    return table(header, rows)


def frozen_run(root: Path, work: Path) -> tuple[Run, str]:
    """Train the head for a few epochs; return the run and the seconds of the pass, as the log has them."""
    folder = work / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    settings = ["data=folder", f"data.root={root}", f"trainer.max_epochs={EPOCHS}", f"hydra.run.dir={folder}"]
    done = run(
        ["train.py", *TINY, *settings, "augmentation=none", "data.batch_size=64", "report=false"],
        {"GRAFT_CACHE": str(work / "cache")},
    )
    told = "\n".join(file.read_text() for file in (PROJECT / folder).glob("*.log"))
    found = re.search(r"computed in ([\d.]+) s", told)
    assert json.loads((PROJECT / folder / "metrics.json").read_text())["epoch"] == EPOCHS
    return done, found[1] if found else "none"
