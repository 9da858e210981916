"""Reads the CSV and Parquet files that a person gives."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graft.errors import UserError, import_extra, suggestion

SEPARATORS = (",", ";", "\t")
PARQUET = (".parquet", ".pq")
Row = dict[str, str]


def read_rows(file: Path, errors: str = "strict") -> tuple[list[str], dict[int, Row]]:
    """Return the column names and the rows by number as a spreadsheet counts them: the header is row 1.

    Each row has every column as text; absent values are empty, and rows without any value are left out.
    `errors` is that of `open`. Raises UserError where the file cannot be read, is no table, or has a row that
    is longer than the header.
    """
    try:
        lines = iter(parquet_lines(file) if file.suffix.lower() in PARQUET else csv_lines(file, errors))
        columns = [name.strip() for name in next(lines, [])]
        if any(not name.isprintable() for name in columns):
            raise ValueError("its first line is no text")
        cells = {number: line for number, line in enumerate(lines, start=2) if any(map(str.strip, line))}
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:
        raise UserError(
            f"{file} cannot be read as a table ({error}): save it as CSV text in UTF-8, or as Parquet."
        ) from error
    width = len(columns)
    for number, line in cells.items():
        if any(line[width:]):
            raise UserError(
                f"{file}, row {number}: {len(line)} cells, but the header has {width}; put a cell that "
                "contains the separator into double quotes."
            )
    absent = [""] * width
    return columns, {
        number: dict(zip(columns, line if len(line) >= width else line + absent, strict=False))
        for number, line in cells.items()
    }


def csv_lines(file: Path, errors: str) -> Iterator[list[str]]:
    """Yield the cells of each line; the separator is the one that the header has most of."""
    # Spreadsheets write a byte order mark, which would become a part of the first column's name.
    with file.open(newline="", encoding="utf-8-sig", errors=errors) as text:
        header = re.sub('"[^"]*"', "", text.readline())
        text.seek(0)
        yield from csv.reader(text, delimiter=max(SEPARATORS, key=header.count))


def parquet_lines(file: Path) -> Iterator[list[str]]:
    parquet = import_extra("pyarrow.parquet", "parquet")
    with parquet.ParquetFile(file) as opened:
        table = opened.read()
    yield table.column_names
    columns = [[as_text(value) for value in column.to_pylist()] for column in table.columns]
    yield from map(list, zip(*columns, strict=True))


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):  # Several labels, in the form that Label Studio gives them.
        value = {"choices": value}
    return json.dumps(value, default=str) if isinstance(value, dict) else str(value)


def refuse_missing_table(file: Path) -> None:
    if file.is_file():
        return
    if file.is_dir():
        raise UserError(f"data.file={file} is a folder: write a CSV or Parquet file, or data=folder.")
    near = [path.name for path in file.parent.iterdir()] if file.parent.is_dir() else []
    raise UserError(f"data.file={file}: there is no such file.{suggestion(file.name, near)}")


def refuse_missing_columns(file: Path, columns: Sequence[str], wanted: Iterable[tuple[str, str]]) -> None:
    """Raise a UserError for a setting that names a column that is not there, or is there twice."""
    for key, column in wanted:
        if column not in columns:
            near = suggestion(column, columns) or f" Its columns are {', '.join(columns[:10])}."
            raise UserError(f"{key}={column}: {file} has no such column.{near}")
        if columns.count(column) > 1:
            raise UserError(f"{key}={column}: {file} has several columns of this name; rename one.")
