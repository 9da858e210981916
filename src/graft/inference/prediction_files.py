"""Writes predictions one by one as CSV, JSON lines or Parquet, and sorts images into class folders."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from graft.errors import UserError, import_extra
from graft.inference.model import Model, Prediction
from graft.inference.search import base_folder
from graft.tasks.multiclass import Multiclass
from graft.tasks.prediction_table import as_text, unless_taken

Row = dict[str, Any]
ROWS_AT_ONCE = 4096  # Parquet is compressed in groups of rows.


class Table:
    """Turns predictions into rows with the same columns, whatever the format.

    path, label, with classes probability and, for `top_k` > 1, label_2, probability_2, ..., with a threshold
    is_certain, then the task's columns, error.
    """

    def __init__(self, model: Model, top_k: int = 1, has_threshold: bool = False) -> None:
        self.names = model.task.columns
        if top_k > 1:
            model.refuse_unless_multiclass(f"top_k={top_k}")
            if top_k > len(self.names):
                raise UserError(f"top_k={top_k}: the model has {len(self.names)} classes.")
        self.suffixes = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
        kinds = ("label", "probability") if isinstance(model.task, Multiclass) else ("label",)
        own = ["path", *(kind + suffix for suffix in self.suffixes for kind in kinds)]
        self.flags = ["is_certain"] if has_threshold else []
        own += self.flags
        self.value_columns = unless_taken(model.task, self.names, [*own, "error"])
        self.columns = [*own, *self.value_columns, "error"]
        self.numbers = {*self.value_columns, *(name for name in own if name.startswith("probability"))}

    def row(self, prediction: Prediction) -> Row:
        row: Row = dict.fromkeys(self.columns)
        row |= {"path": as_text(str(prediction.path)), "error": as_text(prediction.error) or None}
        if prediction.probability is not None:
            ranked = sorted(zip(prediction.values, self.names, strict=True), key=lambda pair: -pair[0])
            for suffix, (probability, name) in zip(self.suffixes, ranked, strict=False):
                row |= {f"label{suffix}": name, f"probability{suffix}": probability}
        row |= {"label": prediction.label} | dict.fromkeys(self.flags, prediction.is_certain)
        return row | dict(zip(self.value_columns, prediction.values, strict=False))


def write_csv(file: Path, table: Table, rows: Iterator[Row]) -> None:
    """Write UTF-8 CSV; what is absent is empty. Nine digits hold a 32-bit number exactly."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(table.columns)
        for row in rows:
            writer.writerow(f"{v:.9g}" if isinstance(v, float) else v for v in row.values())


def write_json_lines(file: Path, table: Table, rows: Iterator[Row]) -> None:
    del table
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            exact = {k: float(f"{v:.9g}") if isinstance(v, float) else v for k, v in row.items()}
            lines.write(json.dumps(exact) + "\n")


def write_parquet(file: Path, table: Table, rows: Iterator[Row]) -> None:
    """Write Parquet, values as 32-bit numbers; what is absent is null."""
    arrow = import_extra("pyarrow", "parquet")
    kinds = dict.fromkeys(table.columns, arrow.string())
    kinds |= dict.fromkeys(table.numbers, arrow.float32()) | dict.fromkeys(table.flags, arrow.bool_())
    schema = arrow.schema(list(kinds.items()))
    with import_extra("pyarrow.parquet", "parquet").ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))


Write = Callable[[Path, Table, Iterator[Row]], None]
WRITERS: dict[str, Write] = {
    ".csv": write_csv,
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
    ".parquet": write_parquet,
}


def checked_writer(file: Path) -> Write:
    """Return the function that writes the format which the extension names.

    Raises UserError for another extension, a folder that is missing, or without Parquet's library.
    """
    extension = file.suffix.lower()
    if extension not in WRITERS:
        raise UserError(f"output={file}: its extension is one of {', '.join(WRITERS)}.")
    if extension == ".parquet":
        import_extra("pyarrow.parquet", "parquet")
    if not file.parent.is_dir():
        raise UserError(f"output={file}: there is no folder {file.parent}.")
    return WRITERS[extension]


class ClassFolders:
    """Copies images to `target/LABEL/`, with the folders that they have below their source.

    Those below the threshold are copied to `target/uncertain/LABEL/`.
    Raises UserError where the target holds something, or lies in a folder that is searched for images.
    """

    def __init__(self, target: Path, source: str) -> None:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"copy_to={target} is not empty: name a new folder.")
        searched = Path(source).expanduser()
        if searched.is_dir() and target.resolve().is_relative_to(searched.resolve()):
            raise UserError(f"copy_to={target} lies in input={source}: its copies would be predicted too.")
        self.target, self.base = target, base_folder(source)

    def copy(self, prediction: Prediction) -> None:
        if prediction.path is None or prediction.label is None:
            return
        if Path(prediction.label).name != prediction.label:
            raise UserError(f"copy_to: the class '{prediction.label}' is no name for a folder.")
        folder = self.target / "uncertain" if prediction.is_certain is False else self.target
        copy = folder / prediction.label / prediction.path.relative_to(self.base)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(prediction.path, copy)
