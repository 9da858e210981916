"""A frozen backbone and 25 epochs: the classic loop, plain Lightning, AutoTimm, Graft, and a bare pass."""

import importlib.util
import json
import shutil
from pathlib import Path

from benchmarks.measuring import PROJECT, Run, paired, ratio, run, spread, table


def measure(root: Path, work: Path, repetitions: int, epochs: int, peers: bool) -> str:
    """Return the section: whole processes, data and validation included."""
    script = "scripts/benchmarks/ways/{}.py"
    ways = {"classic loop": [script.format("classic"), str(root), str(epochs)]}
    if peers:
        ways["plain Lightning"] = [script.format("plain_lightning"), str(root), str(epochs)]
        if importlib.util.find_spec("autotimm"):
            ways["AutoTimm"] = [script.format("peer_autotimm"), str(root), str(epochs), "frozen"]
    ways["bare pass, memory kept"] = [script.format("forward_pass"), str(root), "keep"]
    ways["bare pass"] = [script.format("forward_pass"), str(root), "return"]
    slow = paired(ways, repetitions)
    first, again, varied = [], [], []
    for _ in range(repetitions):
        shutil.rmtree(work / "cache", ignore_errors=True)
        first.append(graft(root, work, epochs, "augmentation=none"))
        again.append(graft(root, work, epochs, "augmentation=none"))
        shutil.rmtree(work / "cache", ignore_errors=True)
        varied.append(graft(root, work, epochs))
    fast = {"Graft, first run": first, "Graft, again": again, "Graft, augmented (3 views)": varied}
    every = {name: runs for name, runs in slow.items() if "pass" not in runs[0].result} | fast
    rows = [row(name, runs, slow["classic loop"]) for name, runs in every.items()]
    passes = []
    for name in ("bare pass", "bare pass, memory kept"):
        times = [found.result["pass"] for found in slow[name]]
        passes.append(
            f"- {name}: {spread(times)} s for the same pictures, decoded before; "
            f"Graft's whole first run takes {ratio(seconds(first), times)} times that."
        )
    header = ["way", "seconds, whole process", "classic loop / this", "validation", "test"]
    return "\n".join([table(header, rows), "", *passes])


def graft(root: Path, work: Path, epochs: int, *overrides: str) -> Run:
    """Run train.py with a cache of its own; the result is its metrics.json."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    settings = ["data=folder", f"data.root={root}", f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}"]
    done = run(["train.py", *settings, *overrides], {"GRAFT_CACHE": str(work / "cache")})
    metrics = json.loads((PROJECT / folder / "metrics.json").read_text())
    return Run(done.seconds, done.memory, {"val": metrics["val/accuracy"], "test": metrics["test/accuracy"]})


def seconds(runs: list[Run]) -> list[float]:
    """Return the time of every run."""
    return [r.seconds for r in runs]


def row(name: str, runs: list[Run], classic: list[Run]) -> list[str]:
    """Return a row of the table."""
    accuracies = [spread([r.result[split] for r in runs], 3) for split in ("val", "test")]
    return [name, spread(seconds(runs)), ratio(seconds(classic), seconds(runs)), *accuracies]
