"""Growth: time and peak memory of a frozen run with 1,000, 10,000 and 100,000 small images."""

import json
import re
import shutil
from datetime import datetime
from pathlib import Path

from benchmarks.images import generated
from benchmarks.measuring import PROJECT, Run, run, table

COUNTS = (1_000, 10_000, 100_000)
EPOCHS = 3
TINY = ["model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"]


def measure(work: Path) -> str:
    """Return the section: a tiny network with random weights, images of 32 pixels, a fresh cache."""
    rows, base = [], 0.0
    for count in COUNTS:
        root = generated(work, count, 32, 32)
        shutil.rmtree(work / "cache", ignore_errors=True)
        # The second run finds hashes and features.
        for name in ("first", "again"):
            done, parts = frozen_run(root, work)
            base = done.memory if (count, name) == (10_000, "first") else base
            growth = f"{done.memory / base - 1:+.1%}" if base else ""
            memory = f"{done.memory / 1e6:.0f}"
            rows.append([f"{count:,}", name, f"{done.seconds:.1f}", *parts, memory, growth])
    header = ["images", "run", "whole process, s", "start and listing, s", "feature pass, s"]
    return table([*header, f"{EPOCHS} epochs of the head, s", "peak memory, MB", "against 10,000"], rows)


def frozen_run(root: Path, work: Path) -> tuple[Run, list[str]]:
    """Train the head for a few epochs; return the run, and the seconds of its parts as the log has them."""
    folder = work / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    settings = ["data=folder", f"data.root={root}", f"trainer.max_epochs={EPOCHS}", f"hydra.run.dir={folder}"]
    began = datetime.now()
    done = run(
        ["train.py", *TINY, *settings, "augmentation=none", "data.batch_size=64", "report=false"],
        {"GRAFT_CACHE": str(work / "cache")},
    )
    assert json.loads((PROJECT / folder / "metrics.json").read_text(encoding="utf-8"))["epoch"] == EPOCHS
    told = (PROJECT / folder / "train.log").read_text(encoding="utf-8")
    listed = (moment(told, "data  ") - began).total_seconds()
    trained = (moment(told, f"epoch {EPOCHS}/{EPOCHS}") - moment(told, "phase 1/1")).total_seconds()
    computed = re.search(r"computed in ([\d.]+) s", told)
    return done, [f"{listed:.1f}", computed[1] if computed else "none", f"{trained:.1f}"]


def moment(log: str, text: str) -> datetime:
    """Return when the line was written that begins, after its time and place, with the text."""
    line = next(line for line in log.splitlines() if f": {text}" in line)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")
