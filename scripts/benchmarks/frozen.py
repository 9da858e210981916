"""A frozen backbone and 25 epochs: the classic loop, plain Lightning, AutoTimm, Graft, and a bare pass."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measuring import PROJECT, WAYS, Run, paired, ratio, run, spread, table

CLASSIC, FIRST = "classic loop", "Graft, first run"
PASSES = {"bare pass": "return", "bare pass, memory kept": "keep"}


def measure(root: Path, work: Path, repetitions: int, epochs: int, peers: Path | None) -> str:
    """Return the section: whole processes, data and validation included."""
    arguments = [str(root), str(epochs)]
    ways: dict[str, Callable[[], Run]] = {
        CLASSIC: partial(run, [f"{WAYS}/classic.py", *arguments]),
        "plain Lightning": partial(run, [f"{WAYS}/plain_lightning.py", *arguments]),
    }
    if peers:
        command = [f"{WAYS}/peer_autotimm.py", *arguments, "frozen", "0"]
        ways["AutoTimm"] = partial(run, command, python=str(peers))
    for name, memory in PASSES.items():
        ways[name] = partial(run, [f"{WAYS}/forward_pass.py", str(root), memory])
    long = f"trainer.max_epochs={epochs}"
    ways[FIRST] = partial(graft, root, work, long, "augmentation=none", is_first=True)
    ways["Graft, again"] = partial(graft, root, work, long, "augmentation=none")
    ways["Graft, augmented"] = partial(graft, root, work, long, "features.views=8", is_first=True)
    # They take as long as the classic loop, which is what all are compared with.
    runs = paired(ways, repetitions, once=("plain Lightning", "AutoTimm"))
    rows = [row(name, found, runs[CLASSIC]) for name, found in runs.items() if name not in PASSES]
    passes = []
    for name in PASSES:
        times = [found.result["pass"] for found in runs[name]]
        passes.append(
            f"- {name}: {spread(times)} s for the same images, decoded before; "
            f"Graft's whole first run takes {ratio(seconds(runs[FIRST]), times)} times that."
        )
    header = ["way", "seconds, whole process", "classic loop / this", "validation", "test"]
    return "\n".join([table(header, rows), "", *passes])


def graft(root: Path, work: Path, *overrides: str, is_first: bool = False) -> Run:
    """Run train.py with a cache of its own, empty where it `is_first`; the result is its metrics.json."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    if is_first:
        shutil.rmtree(work / "cache", ignore_errors=True)
    settings = ["data=folder", f"data.root={root}", f"hydra.run.dir={folder}"]
    done = run(["train.py", *settings, *overrides], {"GRAFT_CACHE": str(work / "cache")})
    metrics = json.loads((PROJECT / folder / "metrics.json").read_text(encoding="utf-8"))
    return Run(done.seconds, done.memory, {"val": metrics["val/accuracy"], "test": metrics["test/accuracy"]})


def seconds(runs: list[Run]) -> list[float]:
    """Return the time of every run."""
    return [r.seconds for r in runs]


def row(name: str, runs: list[Run], classic: list[Run]) -> list[str]:
    """Return a row of the table."""
    accuracies = [spread([r.result[split] for r in runs], 3) for split in ("val", "test")]
    return [name, spread(seconds(runs)), ratio(seconds(classic), seconds(runs)), *accuracies]
