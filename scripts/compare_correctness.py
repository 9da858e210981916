"""Compare ways to freeze a pretrained network, and print what was seen as two Markdown tables.

With all peers, in an environment of its own:

    python -m venv .peers
    .peers/bin/pip install -e . elpv-dataset fastai autotimm
    .peers/bin/python scripts/compare_correctness.py

A peer that is not installed has a row that says so. Takes two minutes.
"""

import argparse
import importlib.util
import logging
import platform
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from correctness.experiment import Observation, Way, observe
from correctness.lightning_callbacks import Finding, findings
from correctness.ways import ways

PACKAGES = ("torch", "lightning", "timm", "fastai", "autotimm")


def compare() -> str:
    """Return the whole report in Markdown."""
    parts = [versions(), ways_table([(way, observation(way)) for way in ways()]), findings_table(findings())]
    return "\n\n".join(parts) + "\n"


def observation(way: Way) -> Observation | None:
    """Return what is seen of a way to freeze, None where its package is not installed."""
    if way.needs and importlib.util.find_spec(way.needs) is None:
        return None
    return observe(way)


def versions() -> str:
    """Return a line with the versions of what was compared."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return f"Python {platform.python_version()}, {', '.join(found)}."


def ways_table(observed: list[tuple[Way, Observation | None]]) -> str:
    """Return a row for each way to freeze."""
    lines = [
        "| frozen by | buffers changed | parameters changed | largest change | features moved by "
        "| training against evaluation | resumed | lost from the optimizer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, seen in observed:
        if seen is None:
            cells = [f"not installed (pip install {way.needs})", *[""] * 6]
        else:
            cells = [
                "{} of {}".format(*seen.buffers),
                "{} of {}".format(*seen.parameters),
                f"{seen.change:.3g}",
                f"{seen.features:.3g}",
                f"{seen.gap:.3g}",
                seen.resumed,
                "{} of {}".format(*seen.lost) if seen.lost else "no unfreezing",
            ]
        lines.append(f"| {' | '.join([way.name, *cells])} |")
    return "\n".join(lines)


def findings_table(found: list[Finding]) -> str:
    """Return a row for each pitfall of Lightning's callbacks."""
    lines = [f"| pitfall | Lightning {version('lightning')} | seen |", "|---|---|---|"]
    lines += [f"| {f.pitfall} | {'shows it' if f.is_shown else 'does not'} | {f.seen} |" for f in found]
    return "\n".join(lines)


def main() -> None:
    """Print the report, and write it to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("logs/correctness.md"), help="the file to write")
    output = parser.parse_args().output
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)  # Two threads that share a core with something else wait for each other.
    report = compare()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report, encoding="utf-8")
    sys.stdout.write(f"{report}\nwritten to {output}\n")


if __name__ == "__main__":
    main()
