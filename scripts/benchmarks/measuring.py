"""Runs commands in turn, each as a whole process, and keeps time, memory and what they print last."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
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
    path = os.pathsep.join(["scripts", *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.monotonic()
    with subprocess.Popen(
        [python, *command],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": path} | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit, last_object(output))


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
    """Return the processor, the number of cores and the versions, those of the peers as well, in a line."""
    found = versions(sys.executable) | (versions(str(peers)) if peers else {})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    named = ", ".join(f"{package} {version}" for package, version in found.items())
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {named}."


def versions(python: str) -> dict[str, str]:
    """Return the versions of those of `PACKAGES` that an interpreter has."""
    asked = f"import importlib.metadata as m, json; n = {PACKAGES}; "
    asked += "print(json.dumps({d.name: d.version for d in m.distributions() if d.name in n}))"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(told.stdout)
    return {package: found[package] for package in PACKAGES if package in found}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
