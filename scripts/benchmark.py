"""Measure Graft against other ways to do the same, and write docs/benchmarks.md.

`make benchmark` does so with fastai and AutoTimm, in an environment of their own. A section that is measured
takes the place of the page's; the others stay.
"""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from benchmarks import accuracy, frozen, growth, loading, prediction, startup, steps
from benchmarks.images import split_folder
from benchmarks.measuring import machine
from pydantic import BeforeValidator, Field

from graft.cli.script_settings import File, run_script
from graft.errors import UserError
from graft.settings import Count, Settings, Words

WORK = Path("logs/benchmark")
SECTIONS = {
    "frozen": "A frozen backbone, start to end",
    "steps": "The step of fine-tuning",
    "accuracy": "Accuracy over minutes",
    "loading": "Loading images",
    "growth": "More images",
    "startup": "Start-up",
    "prediction": "Prediction",
}


def split_words(text: str) -> list[str]:
    """Return the words, which commas separate."""
    return text.split(",")


def split_numbers(text: str) -> list[int]:
    """Return whole numbers, which commas separate, the smallest first."""
    return sorted(int(number) for number in text.split(","))


class BenchmarkSettings(Settings):
    """The settings of benchmark.py."""

    sections: Annotated[
        list[Literal["frozen", "steps", "accuracy", "loading", "growth", "startup", "prediction"]],
        BeforeValidator(split_words),
        Words(f"names of sections, separated by commas: {', '.join(SECTIONS)}"),
    ] = Field(list(SECTIONS), description="which to measure, separated by commas; all")  # type: ignore[arg-type]
    images: File | None = Field(
        None, description="a folder of labelled images instead of ELPV: IMAGES/CLASS/*"
    )
    repetitions: Count = Field(3, description="how often each way runs")
    epochs: Count = Field(25, description="epochs of the frozen runs")
    minutes: Annotated[
        list[Count], BeforeValidator(split_numbers), Words("whole minutes, separated by commas")
    ] = Field([1, 2, 4, 8], description="how long to train for an accuracy, separated by commas")
    seeds: Annotated[
        list[Count], BeforeValidator(split_numbers), Words("whole numbers, separated by commas")
    ] = Field([1, 2, 3], description="seeds of the accuracies, separated by commas")
    train: Annotated[int, Field(ge=4)] | None = Field(
        None, description="most training images, half as many in the other splits; all"
    )
    peers: File | None = Field(
        None, description="a Python that has fastai and autotimm; without it they do not run"
    )
    output: File = Field(Path("docs/benchmarks.md"), description="the page to write")


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
            root = split_folder(settings["images"], WORK, settings["train"])
            found = frozen.measure(root, WORK, repetitions, settings["epochs"], settings["peers"])
        elif name == "steps":
            found = steps.measure(repetitions)
        elif name == "accuracy":
            roots = {
                seed: split_folder(settings["images"], WORK, settings["train"], seed)
                for seed in settings["seeds"]
            }
            curves = settings["output"].with_name("accuracy.png")
            found = accuracy.measure(roots, WORK, settings["minutes"], settings["peers"], curves)
        elif name == "loading":
            found = loading.measure(WORK, repetitions)
        elif name == "growth":
            found = growth.measure(WORK)
        elif name == "prediction":
            found = prediction.measure(split_folder(settings["images"], WORK), WORK)
        else:
            found = startup.measure(split_folder(settings["images"], WORK), WORK, repetitions)
        peers = settings["peers"] if name in ("frozen", "accuracy") else None
        command = f"python scripts/benchmark.py {' '.join(sys.argv[1:])}".strip()
        measured = f"{found}\n\n`{command}`, {date.today()}: {machine(peers)}"
        write_section(settings["output"], SECTIONS[name], measured)
        sys.stdout.write(f"{found}\n")
    return 0


def write_section(page: Path, title: str, text: str) -> None:
    """Put a section into the page, in the order of `SECTIONS`, below what the page says by hand."""
    old = page.read_text(encoding="utf-8") if page.is_file() else "# Benchmarks"
    introduction, *parts = old.split("\n## ")
    sections = {heading: rest.strip() for heading, _, rest in (part.partition("\n") for part in parts)}
    sections[title] = text
    kept = [f"## {heading}\n\n{sections[heading]}" for heading in SECTIONS.values() if heading in sections]
    page.write_text("\n\n".join([introduction.rstrip(), *kept]) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", BenchmarkSettings, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
