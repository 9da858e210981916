"""Measure Graft against other ways to do the same, and write docs/benchmarks.md.

`make benchmark` does so with fastai and AutoTimm, in an environment of their own. Each section is kept in
logs/benchmark; the page is made of those that are there.
"""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import accuracy, frozen, growth, loading, prediction, startup, steps
from benchmarks.measuring import machine
from benchmarks.pictures import split_folder

from graft.cli.script_settings import Setting, path, run_script, whole_number
from graft.errors import UserError

WORK = Path("logs/benchmark")
SECTIONS = {
    "frozen": "A frozen backbone, start to end",
    "steps": "The step of fine-tuning",
    "accuracy": "Time to an accuracy",
    "loading": "Loading pictures",
    "growth": "More pictures",
    "startup": "Start-up",
    "prediction": "Prediction",
}


def sections(text: str) -> list[str]:
    """Read the names of sections, separated by commas."""
    names = text.split(",")
    if not set(names) <= set(SECTIONS):
        raise ValueError(", ".join(SECTIONS))
    return names


def budgets(text: str) -> list[int]:
    """Read whole minutes, separated by commas."""
    found = [int(number) for number in text.split(",")]
    if min(found) < 1:
        raise ValueError("whole minutes, separated by commas")
    return sorted(found)


SETTINGS = {
    "sections": Setting(sections, "which to measure, separated by commas; all", list(SECTIONS)),
    "pictures": Setting(path, "a folder of labelled pictures instead of ELPV: PICTURES/CLASS/*"),
    "repetitions": Setting(whole_number(1), "how often each way runs", 3),
    "epochs": Setting(whole_number(1), "epochs of the frozen runs", 25),
    "minutes": Setting(budgets, "how long to fine-tune, separated by commas", [1, 2, 4, 8]),
    "train": Setting(whole_number(4), "most training pictures, half as many in the other splits; all"),
    "peers": Setting(path, "a Python that has fastai and autotimm; without it they do not run"),
    "output": Setting(path, "the page to write", Path("docs/benchmarks.md")),
}


def work(settings: dict[str, Any]) -> int:
    """Measure the sections, and write the page."""
    WORK.mkdir(parents=True, exist_ok=True)
    repetitions = settings["repetitions"]
    if not Path("train.py").is_file():
        raise UserError("run scripts/benchmark.py in the project's folder.")
    if "accuracy" in settings["sections"] and settings["peers"] is None:
        raise UserError("the section accuracy needs peers=PYTHON; `make benchmark` gives it.")
    for name in settings["sections"]:
        if name == "frozen":
            root = split_folder(settings["pictures"], WORK, settings["train"])
            found = frozen.measure(root, WORK, repetitions, settings["epochs"], settings["peers"])
        elif name == "steps":
            found = steps.measure(repetitions)
        elif name == "accuracy":
            root = split_folder(settings["pictures"], WORK, settings["train"])
            curves = settings["output"].with_name("accuracy.png")
            found = accuracy.measure(root, WORK, settings["minutes"], settings["peers"], curves)
        elif name == "loading":
            found = loading.measure(WORK, repetitions)
        elif name == "growth":
            found = growth.measure(WORK)
        elif name == "prediction":
            found = prediction.measure(split_folder(settings["pictures"], WORK), WORK)
        else:
            found = startup.measure(split_folder(settings["pictures"], WORK), WORK, repetitions)
        peers = settings["peers"] if name in ("frozen", "accuracy") else None
        command = f"python scripts/benchmark.py {' '.join(sys.argv[1:])}".strip()
        (WORK / f"{name}.md").write_text(
            f"{found}\n\n`{command}`, {date.today()}: {machine(peers)}\n", encoding="utf-8"
        )
        write_page(settings["output"])
        sys.stdout.write(f"{found}\n")
    return 0


def write_page(output: Path) -> None:
    """Put the sections that were measured together, below what the page says by hand."""
    introduction = (
        output.read_text(encoding="utf-8").split("\n## ")[0].rstrip() if output.is_file() else "# Benchmarks"
    )
    parts = [introduction]
    for name, title in SECTIONS.items():
        file = WORK / f"{name}.md"
        if file.is_file():
            parts.append(f"## {title}\n\n{file.read_text(encoding='utf-8').rstrip()}")
    output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", SETTINGS, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
