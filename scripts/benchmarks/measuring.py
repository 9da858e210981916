"""Runs commands in turn, each as a whole process, and keeps time, memory and what they print last."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = PROJECT / "scripts/benchmarks/launch.py"
WAYS = "scripts/benchmarks/ways"  # a program each
PACKAGES = ("torch", "torchvision", "lightning", "timm", "fastai", "autotimm")


@dataclass(frozen=True)
class Run:
    """One process: its time from start to end, its peak memory, and the JSON object in its last line."""

    seconds: float
    memory: float  # bytes
    result: dict[str, Any]


def run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, python: str = sys.executable
) -> Run:
    """Run `python COMMAND` in the project's folder; RuntimeError with its output where it fails."""
    paths = [str(PROJECT / "scripts"), os.environ.get("PYTHONPATH", "")]
    added = {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | dict(environment or {})
    with tempfile.TemporaryDirectory() as folder:
        told, printed = Path(folder) / "told.json", Path(folder) / "printed.txt"
        # Into a file: a worker that outlives its process would keep a pipe open.
        with printed.open("wb") as output:
            subprocess.run(
                [sys.executable, str(LAUNCH), str(told), python, *command],
                cwd=PROJECT,
                env=os.environ | added,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
            )
        found = json.loads(told.read_text(encoding="utf-8"))
        text = printed.read_text(errors="replace", encoding="utf-8")
    if found["code"]:
        raise RuntimeError(f"{' '.join(command)} ended with {found['code']}:\n{text[-3000:]}")
    return Run(found["seconds"], found["memory"], last_object(text))


def last_object(output: str) -> dict[str, Any]:
    """Return the last line that is a JSON object; empty where there is none."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


def paired(
    ways: Mapping[str, Callable[[], Run]], repetitions: int, once: Sequence[str] = ()
) -> dict[str, list[Run]]:
    """Run every way once, in turn, and that so many times: what slows the machine down meets all of them.

    Those that are to run `once` do so in the first round.
    """
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(repetitions):
        for name, way in ways.items():
            if number and name in once:
                continue
            runs[name].append(way())
            sys.stderr.write(f"{number + 1}/{repetitions} {name}: {runs[name][-1].seconds:.1f} s\n")
    return runs


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median, and in brackets the smallest and the largest."""
    middle = f"{statistics.median(values):.{digits}f}"
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else middle


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Return how many times the first takes what the second takes, of the medians."""
    return f"{statistics.median(slow) / statistics.median(fast):.2f}"


def machine(peers: Path | None) -> str:
    """Return the processor, the number of cores and the versions, in a line; `peers` where they ran."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = (
        f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {versions(sys.executable)}"
    )
    return f"{told}." if peers is None else f"{told}; fastai and AutoTimm beside {versions(str(peers))}."


def versions(python: str) -> str:
    """Return which of `PACKAGES` an interpreter has, with their versions."""
    asked = f"import importlib.metadata as m, json; n = {PACKAGES}; "
    asked += "print(json.dumps({d.name: d.version for d in m.distributions() if d.name in n}))"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(told.stdout)
    return ", ".join(f"{package} {found[package]}" for package in PACKAGES if package in found)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
