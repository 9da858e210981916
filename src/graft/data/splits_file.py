"""The file splits.csv: which image is in which split."""

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from graft.data.layout import class_of, composed
from graft.data.sample import SPLITS, Sample
from graft.data.tables import read_rows
from graft.errors import UserError

log = logging.getLogger(__name__)

COLUMNS = ["path", "target", "split"]


def write_splits(samples: Sequence[Sample], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # A file's name may not be UTF-8: its bytes are written as they are.
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.writer(lines)
        writer.writerow(COLUMNS)
        writer.writerows((s.path, text_of(s), s.split) for s in sorted(samples, key=lambda s: s.path))


def read_splits(file: Path, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that a splits file names, with its splits.

    Raises UserError where the file is missing or no table, has other columns, names an image twice, in
    an unknown split or one that is not there. Images that it does not name are left out, with a warning.
    """
    if not file.is_file():
        raise UserError(f"data.splits={file}: there is no such file.")
    columns, read = read_rows(file, errors="surrogateescape")
    if not set(COLUMNS) <= set(columns):
        raise UserError(f"data.splits={file} needs the columns {', '.join(COLUMNS)}.")
    # Another system may have written the same names decomposed.
    rows = [
        {**row, "path": composed(row["path"]), "target": class_of(row["target"])} for row in read.values()
    ]
    by_path = {composed(sample.path): sample for sample in samples}
    refuse(file, "named twice", [p for p, n in Counter(row["path"] for row in rows).items() if n > 1])
    refuse(file, "not in the data folder", [row["path"] for row in rows if row["path"] not in by_path])
    refuse(file, "in no known split", [row["path"] for row in rows if row["split"] not in SPLITS])
    others = [row["path"] for row in rows if text_of(by_path[row["path"]]) != row["target"]]
    refuse(file, "of another class", others)
    unnamed = by_path.keys() - {row["path"] for row in rows}
    if unnamed:
        first = min(unnamed)
        log.warning("%s does not name %d images, which are left out (%s)", file, len(unnamed), first)
    named = [replace(by_path[row["path"]], split=row["split"]) for row in rows]
    return sorted(named, key=lambda sample: sample.path)


def text_of(sample: Sample) -> str:
    return ";".join(sample.target)


def refuse(file: Path, what: str, paths: list[str]) -> None:
    if paths:
        raise UserError(f"data.splits={file}: {len(paths)} images {what} ({', '.join(paths[:3])}).")
