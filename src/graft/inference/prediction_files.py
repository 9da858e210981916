"""Writes predictions one by one as CSV, JSON lines or Parquet, and sorts images into class folders."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from graft.errors import UserError, import_extra
from graft.inference.model import Prediction
from graft.inference.search import base_folder

Row = dict[str, Any]
Write = Callable[[Row], None]
ROWS_AT_ONCE = 4096  # Parquet is compressed in groups of rows.


class Table:
    """Turns predictions into rows with the same columns, whatever the format.

    path, label, probability, for `top_k` > 1 label_2, probability_2, ..., a column a class, error. A class
    with the name of another column has "class " before it.
    """

    def __init__(self, class_names: Sequence[str], top_k: int = 1) -> None:
        if top_k > len(class_names):
            raise UserError(f"top_k={top_k}: the model has {len(class_names)} classes.")
        self.class_names = list(class_names)
        self.places = range(2, top_k + 1)
        further = [f"{kind}_{place}" for place in self.places for kind in ("label", "probability")]
        own = ["path", "label", "probability", *further]
        taken = {*own, "error"}
        self.class_columns = [f"class {name}" if name in taken else name for name in self.class_names]
        self.columns = [*own, *self.class_columns, "error"]
        self.numbers = {"probability", *self.class_columns, *(f for f in further if f.startswith("prob"))}

    def row(self, found: Prediction) -> Row:
        """Return the prediction's row; what an unreadable image lacks is None."""
        row: Row = dict.fromkeys(self.columns)
        row |= {"path": as_text(str(found.path)), "error": as_text(found.error) or None}
        if found.error:
            return row
        row |= {"label": found.label, "probability": found.probability}
        row |= dict(zip(self.class_columns, found.probabilities, strict=True))
        if self.places:
            ranked = sorted(zip(found.probabilities, self.class_names, strict=True), key=lambda x: -x[0])
            for place in self.places:
                row[f"probability_{place}"], row[f"label_{place}"] = ranked[place - 1]
        return row


def as_text(name: str) -> str:
    """Return a file's name as Unicode; bytes of it that are none, as `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def open_table(file: Path, table: Table) -> Iterator[Write]:
    """Open the file in the format that its ending names, and give the function that writes a row.

    Raises UserError for another ending, or where the library for Parquet is missing.
    """
    with WRITERS[checked_ending(file)](file, table) as write:
        yield write


def checked_ending(file: Path) -> str:
    """Return the file's ending where it names a format that can be written here; UserError otherwise."""
    ending = file.suffix.lower()
    if ending not in WRITERS:
        raise UserError(f"output={file}: its ending is one of {', '.join(WRITERS)}.")
    if ending == ".parquet":
        import_extra("pyarrow.parquet", "parquet")
    if not file.parent.is_dir():
        raise UserError(f"output={file}: there is no folder {file.parent}.")
    return ending


@contextmanager
def csv_writer(file: Path, table: Table) -> Iterator[Write]:
    """Write UTF-8 CSV; what is absent is empty. Nine digits hold a 32-bit number exactly."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(table.columns)

        def write(row: Row) -> None:
            values = (f"{v:.9g}" if isinstance(v, float) else v for v in row.values())
            writer.writerow(values)

        yield write


@contextmanager
def json_lines_writer(file: Path, table: Table) -> Iterator[Write]:
    """Write one JSON object a line; what is absent is null."""
    del table
    with file.open("w", encoding="utf-8") as lines:

        def write(row: Row) -> None:
            exact = {k: float(f"{v:.9g}") if isinstance(v, float) else v for k, v in row.items()}
            lines.write(json.dumps(exact) + "\n")

        yield write


@contextmanager
def parquet_writer(file: Path, table: Table) -> Iterator[Write]:
    """Write Parquet, probabilities as 32-bit numbers; what is absent is null."""
    arrow = import_extra("pyarrow", "parquet")
    kinds = [(name, arrow.float32() if name in table.numbers else arrow.string()) for name in table.columns]
    schema = arrow.schema(kinds)
    rows: list[Row] = []
    with import_extra("pyarrow.parquet", "parquet").ParquetWriter(file, schema) as writer:

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(row: Row) -> None:
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                flush()

        yield write
        flush()


WRITERS = {
    ".csv": csv_writer,
    ".jsonl": json_lines_writer,
    ".ndjson": json_lines_writer,
    ".parquet": parquet_writer,
}


def write_labelled_predictions(
    file: Path, paths: Sequence[str], labels: Tensor, probabilities: Tensor, class_names: Sequence[str]
) -> None:
    """Write a CSV of labelled images: path, label, predicted, probability, a column a class.

    `labels` `[N]`, the true ones; `probabilities` `[N, num_classes]`. A class with the name of another
    column has "class " before it.
    """
    own = ["path", "label", "predicted", "probability"]
    columns = [f"class {name}" if name in own else name for name in class_names]
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow([*own, *columns])
        for path, label, shares in zip(paths, labels.tolist(), probabilities.tolist(), strict=True):
            best = max(range(len(shares)), key=shares.__getitem__)
            figures = [f"{share:.9g}" for share in (shares[best], *shares)]
            writer.writerow([as_text(path), class_names[label], class_names[best], *figures])


class ClassFolders:
    """Copies images to `target/LABEL/`, with the folders that they have below `base`.

    Raises UserError where the target holds something, or lies in a folder that is searched for images.
    """

    def __init__(self, target: Path, source: str) -> None:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"copy_to={target} is not empty: name a new folder.")
        searched = Path(source).expanduser()
        if searched.is_dir() and target.resolve().is_relative_to(searched.resolve()):
            raise UserError(f"copy_to={target} lies in input={source}: its copies would be predicted too.")
        self.target, self.base = target, base_folder(source)

    def copy(self, found: Prediction) -> None:
        """Copy a image that could be read."""
        if found.path is None or found.label is None:
            return
        if Path(found.label).name != found.label:
            raise UserError(f"copy_to: the class '{found.label}' is no name for a folder.")
        copied = self.target / found.label / found.path.relative_to(self.base)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(found.path, copied)


def small_table(rows: Sequence[Row]) -> str:
    """Return paths, labels and probabilities as aligned columns; the reason for an unreadable image."""
    width = max(len(row["path"]) for row in rows)
    labels = max(len(row["label"] or "") for row in rows)
    lines = []
    for row in rows:
        told = f"cannot be read: {row['error']}"
        if not row["error"]:
            told = f"{row['label']:<{labels}}  {row['probability']:.4f}"
        lines.append(f"{row['path']:<{width}}  {told}")
    return "\n".join(lines)
