"""Reads the CSV files that a person gives."""

import csv
from pathlib import Path

from graft.errors import UserError


def read_rows(file: Path, errors: str = "strict") -> tuple[list[str], list[dict[str, str]]]:
    """Return the column names and the rows, each with every column; absent values are empty.

    `errors` is `surrogateescape` for a file whose names may be no UTF-8, as Python's `open` has it.
    Raises UserError where the file cannot be read or is no CSV text.
    """
    try:
        # Spreadsheets write a byte order mark, which would become a part of the first column's name.
        with file.open(newline="", encoding="utf-8-sig", errors=errors) as lines:
            reader = csv.DictReader(lines, restval="")
            rows = list(reader)
            if any(not name.isprintable() for name in reader.fieldnames or []):
                raise csv.Error("its first line is no text")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a table ({error}); it is CSV text in UTF-8.") from error
    return list(reader.fieldnames or []), rows
