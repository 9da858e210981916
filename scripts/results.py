"""Train every row of docs/results.md that is missing, and write the page.

`make results` does so, in hours on two cores. Each run is kept as one file in docs/results and is not trained
again, so an interrupted measurement goes on where it stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from measured.page import write_page
from measured.rows import SECTIONS
from measured.runs import record_file, train, write_record
from pydantic import BeforeValidator, Field

from graft.cli.script_settings import File, run_script
from graft.errors import UserError
from graft.settings import Settings, Words

WORK = Path("logs/results")
PAGE, RECORDS = Path("docs/results.md"), Path("docs/results")


def split_words(text: str) -> list[str]:
    return text.split(",")


class ResultsSettings(Settings):
    """The settings of results.py."""

    sections: Annotated[
        list[
            Literal[
                "elpv",
                "elpv-whole",
                "elpv-few",
                "elpv-any",
                "elpv-certain",
                "elpv-80-20",
                "elpv-folds",
                "elpv-blocks",
                "ants",
                "waste",
                "elpv-auto",
                "ants-auto",
                "waste-auto",
            ]
        ],
        BeforeValidator(split_words),
        Words(f"names of sections, separated by commas: {', '.join(SECTIONS)}"),
    ] = Field(["elpv"], description="which to measure, separated by commas")
    rows: str = Field("", description="only rows whose name contains this; all")
    ants: File | None = Field(
        None, description="ants and bees: ANTS/{train,test}/CLASS/* (test: the tutorial's val)"
    )
    waste: File | None = Field(None, description="TrashNet, resized: WASTE/CLASS/*")


def work(settings: dict[str, Any]) -> int:
    """Train what is missing, seed by seed, so that every row has its first figure early."""
    if not Path("train.py").is_file():
        raise UserError("run scripts/results.py in the project's folder.")
    for name in settings["sections"]:
        section = SECTIONS[name]
        images = settings[section.folder] if section.folder else None
        if section.folder and images is None:
            raise UserError(f"the section {name} needs its images: write {section.folder}=FOLDER.")
        rows = [row for row in section.rows if settings["rows"] in row.name]
        for number in range(max((row.seeds for row in rows), default=0)):
            for row in rows:
                seed = row.first + number
                file = record_file(RECORDS, name, row, seed)
                if number < row.seeds and not file.is_file():
                    record = train(section, row, seed, images, WORK.absolute())
                    write_record(file, record)
                    write_page(PAGE, RECORDS)
                    accuracy = record["metrics"]["test/accuracy"]
                    sys.stdout.write(f"{file}: test accuracy {accuracy:.3f}, {record['seconds']:.0f} s\n")
                    sys.stdout.flush()
    write_page(PAGE, RECORDS)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", ResultsSettings, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
