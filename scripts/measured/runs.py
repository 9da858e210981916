"""Trains a row with a seed, in a process of its own, and keeps what came out as one JSON file."""

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.measuring import PROJECT, versions
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from graft.data.sources.elpv import read_labels
from graft.files import replacing
from measured.rows import SEED, Row, Section
from measured.tables import write_table

# Every run ends with its metrics: a report and TensorBoard's images change no figure.
SILENT = ("report=false", "logger=none")
PREDICTED, HALF = "predicted probability", 0.5  # of task=regression
KEPT = ("test/", "val/", "best_epoch", "epoch", "parameters/")  # of metrics.json


def record_file(records: Path, section: str, row: Row, seed: int) -> Path:
    """Return where a run is kept: `docs/results/elpv/default-seed1.json`."""
    name = re.sub(r"[^a-z0-9.]+", "-", row.name.lower()).strip("-")
    return records / section / f"{name}-seed{seed}.json"


def arguments_of(section: Section, row: Row, seed: int, images: Path | None) -> list[str]:
    """Return the arguments of `train.py` for a run; `images` is the folder of a section that names one."""
    data = [f"data.root={images}"] if images else []
    given = [*section.settings, *data, *row.settings]
    return [argument.replace(SEED, str(seed)) for argument in given] + [f"seed={seed}"]


def train(section: Section, row: Row, seed: int, images: Path | None, work: Path) -> dict[str, Any]:
    """Train, and return the record; RuntimeError with the run's last words where it fails."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = arguments_of(section, row, seed, images)
    for table in (a.removeprefix("data.file=") for a in arguments if a.startswith("data.file=")):
        write_table(PROJECT / table)
    is_regression = "task=regression" in arguments
    command = [sys.executable, "train.py", *arguments, f"hydra.run.dir={folder}"]
    command += [] if is_regression else ["calibrate=true"]
    environment = dict(os.environ)
    if section.budgets:  # A budget has to be enough for everything that a user's run does.
        shutil.rmtree(work / "cache", ignore_errors=True)
        environment["GRAFT_CACHE"] = str(work / "cache")
    else:
        command += SILENT
    began, used = time.monotonic(), processor_seconds()
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    tested = read_tested(folder)
    if is_regression:
        metrics |= as_classes(tested)
    shown = arguments_of(section, row, seed, Path(section.folder) if section.folder else None)
    return {
        "command": " ".join(["python train.py", *shown]),
        "date": str(date.today()),
        "versions": versions(sys.executable),
        "cores": os.cpu_count(),
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(processor_seconds() - used, 1),
        "metrics": {name: value for name, value in metrics.items() if name.startswith(KEPT)},
        "by_probability": by_probability(tested) if section.folder is None else None,
        "recipe": recipe_of(folder),
    }


def recipe_of(folder: Path) -> list[str] | None:
    """Return what recipe=auto tried, and why it moved on."""
    file = folder / "recipe.json"
    if not file.is_file():
        return None
    steps: list[str] = json.loads(file.read_text(encoding="utf-8"))["steps"]
    return [step for step in steps if not step.startswith("again: ")]  # It has paths of this machine.


def processor_seconds() -> float:
    """Return the processor time of all child processes so far, of all cores together."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_tested(folder: Path) -> list[dict[str, str]]:
    """Return the test images with their label and what is predicted, each a class or p, the probability."""
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def by_probability(tested: Sequence[Mapping[str, str]]) -> dict[str, tuple[int, int]]:
    """Return, by the annotators' probability of a defect, how many test cells are right, of how many."""
    probabilities = {file.name: probability for file, probability, _ in read_labels()}
    found: dict[str, tuple[int, int]] = {}
    for row in tested:
        probability = probabilities[Path(row["path"]).name]
        if PREDICTED in row:
            is_right = (probability > HALF) == (float(row[PREDICTED]) > HALF)
        else:
            is_right = row["label"] == row["predicted"]
        right, count = found.get(key := f"{probability:.2f}", (0, 0))
        found[key] = (right + is_right, count + 1)
    return dict(sorted(found.items()))


def as_classes(tested: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Return the metrics of a regression on p as those of the classes p ≤ 0.5 and p > 0.5."""
    targets = [float(row["probability"]) > HALF for row in tested]
    scores = [float(row[PREDICTED]) for row in tested]
    predicted = [score > HALF for score in scores]
    return {
        "test/accuracy": float(accuracy_score(targets, predicted)),
        "test/f1": float(f1_score(targets, predicted, average="macro")),
        "test/auroc": float(roc_auc_score(targets, scores)),
    }


def write_record(file: Path, record: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, flush=True) as part:
        part.write(f"{json.dumps(record, indent=1)}\n".encode())
