"""Finds the labelled images that a table names: a CSV or Parquet file with paths and targets."""

import logging
import math
import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from graft.data.images import image_extensions
from graft.data.layout import composed, refuse_missing_folder, split_of
from graft.data.sample import SPLITS, Sample
from graft.data.tables import Row, read_rows, refuse_missing_columns, refuse_missing_table
from graft.data.walking import Walk, is_folder
from graft.errors import UserError

if TYPE_CHECKING:
    from graft.tasks.task import Task

log = logging.getLogger(__name__)

UPLOADED = re.compile("^[0-9a-f]{8}-")  # Label Studio puts this before the names of uploaded files.
ABSOLUTE = re.compile("/|[A-Za-z]:/")


class Table:
    """The images that a table names; `configs/data/table.yaml` describes the arguments."""

    def __init__(
        self,
        file: str | Path,
        target: str | Sequence[str],
        root: str | Path | None = None,
        path_column: str = "path",
        split_column: str | None = None,
        group_column: str | None = None,
        stratify_column: str | None = None,
        weight_column: str | None = None,
        extension: str | None = None,
        match_names: bool = False,
        channels: int = 3,
    ) -> None:
        self.channels = channels
        self.file = Path(file).expanduser()
        self.root = self.file.parent if root is None else Path(root).expanduser()
        self.targets = (target,) if isinstance(target, str) else tuple(target)
        self.path_column, self.split_column = path_column, split_column
        self.group_column, self.stratify_column = group_column, stratify_column
        self.weight_column = weight_column
        self.extension = extension
        self.match_names = match_names

    def target_names(self, task: "Task") -> Sequence[str]:
        return self.targets

    def read(self, task: "Task", needs_train: bool = True) -> list[Sample]:
        """Return the images, sorted by path, with splits where the table has them.

        Raises UserError where a file or column is missing, a cell cannot be read, or an image has two rows.
        """
        refuse_missing_table(self.file)
        refuse_missing_folder(self.root)
        columns, rows = read_rows(self.file)
        if not rows:
            raise UserError(f"data.file={self.file} has no rows: write one for each image below the header.")
        refuse_missing_columns(self.file, columns, self._used_columns())
        finder = (NameFinder if self.match_names else PathFinder)(self.root)
        samples: dict[int, Sample] = {}
        missing: list[str] = []
        bad: list[str] = []
        for number, row in rows.items():
            try:
                name = self._name(row)
                path = finder.find(name)
                if path is None:
                    missing.append(name)
                else:
                    samples[number] = self._sample(path, row, task)
            except ValueError as error:
                bad.append(f"row {number}: {error}")
        if bad:
            more = f" (the first of {len(bad)} rows that cannot be read)" if len(bad) > 1 else ""
            raise UserError(f"data.file={self.file}, {bad[0]}{more}.")
        self._refuse_missing_images(missing, len(rows))
        self._refuse_repeated_images(samples)
        splits = {sample.split for sample in samples.values()}
        if needs_train and not splits & {None, "train"}:
            held = ", ".join(sorted(map(str, splits)))
            raise UserError(f"data.split_column={self.split_column}: {self.file} has {held} but no train.")
        if isinstance(finder, NameFinder):
            finder.log_unnamed((sample.path for sample in samples.values()), self.channels)
        return sorted(samples.values(), key=lambda sample: sample.path)

    def _used_columns(self) -> Iterator[tuple[str, str]]:
        for key in ("path_column", "split_column", "group_column", "stratify_column", "weight_column"):
            if getattr(self, key) is not None:
                yield f"data.{key}", getattr(self, key)
        yield from (("data.target", column) for column in self.targets)

    def _name(self, row: Row) -> str:
        name = row[self.path_column].strip()
        if not name:
            raise ValueError(f"{self.path_column} is empty")
        if self.extension is None or has_extension(name, self.channels, self.extension):
            return name
        return f"{name}.{self.extension.removeprefix('.')}"

    def _sample(self, path: str, row: Row, task: "Task") -> Sample:
        # A class is the same however another system wrote it.
        cells = {column: unicodedata.normalize("NFC", row[column]) for column in self.targets}
        return Sample(
            path,
            task.read(cells),
            split=None if self.split_column is None else read_split(self.split_column, row),
            group="" if self.group_column is None else row[self.group_column].strip(),
            stratify_value="" if self.stratify_column is None else row[self.stratify_column].strip(),
            weight=1.0 if self.weight_column is None else read_weight(self.weight_column, row),
        )

    def _refuse_missing_images(self, missing: list[str], rows: int) -> None:
        if not missing:
            return
        if len(missing) < rows:
            advice = "add them, or remove their rows"
        elif self.extension is None and not any(has_extension(name, self.channels) for name in missing):
            advice = "add their extension, such as data.extension=.jpg"
        elif self.match_names:
            advice = "write the folder that they lie in as data.root"
        else:
            advice = "write the folder that the paths are relative to as data.root, or "
            advice += "data.match_names=true if only the files' names count"
        raise UserError(
            f"data.file={self.file}: {len(missing)} of {rows} images are not below {self.root} "
            f"({', '.join(missing[:3])}): {advice}."
        )

    def _refuse_repeated_images(self, samples: dict[int, Sample]) -> None:
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, sample in samples.items():
            numbers[sample.path].append(number)
        repeated = [of for of in numbers.values() if len(of) > 1]
        if not repeated:
            return
        differ = sum(len({samples[number].target for number in of}) > 1 for of in repeated)
        targets = f"; {differ} of them have different targets" if differ else ""
        path = samples[repeated[0][0]].path
        rows = ", ".join(map(str, repeated[0][:5]))
        raise UserError(
            f"data.file={self.file} has several rows for {len(repeated)} images "
            f"(first: {path}, rows {rows}){targets}: leave one row for each."
        )


class PathFinder:
    """Finds images by their paths below the root, in either form of Unicode."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = os.path.abspath(root)  # noqa: PTH100
        self.listed: dict[str, frozenset[str]] = {}  # the files of each folder: faster than to ask for each
        # What an absolute path may begin with.
        self.starts = {f"{path.as_posix().rstrip('/')}/" for path in (Path(self.folder), root.resolve())}

    def find(self, name: str) -> str | None:
        """Return the path below the root, with slashes; None where it is no file, ValueError if outside."""
        # A hundred thousand files: no Path objects.
        path = os.path.expanduser(name) if name.startswith("~/") else name  # noqa: PTH111
        path = posixpath.normpath(path.replace("\\", "/"))
        if ABSOLUTE.match(path):
            start = next((start for start in self.starts if path.startswith(start)), None)
            path = ".." if start is None else path.removeprefix(start)
        if path.split("/", 1)[0] == "..":
            raise ValueError(
                f"{name} lies outside of data.root={self.root}; write a folder that all images lie in as "
                "data.root, or data.match_names=true if only the files' names count"
            )
        folder, _, file = path.rpartition("/")
        if folder not in self.listed:
            self.listed[folder] = files_in(f"{self.folder}/{folder}")
        if file in self.listed[folder]:
            return path
        return None if path.isascii() else self.by_composed.get(composed(path))

    @cached_property
    def by_composed(self) -> dict[str, str]:
        """All files by their composed paths: the table's system may write another form of Unicode."""
        paths = ("/".join(parts) for parts in Walk(self.root))
        return {composed(path): path for path in paths}


class NameFinder:
    """Finds images by their files' names alone, wherever they lie below the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, list[str]] = defaultdict(list)
        walk = Walk(root)
        for parts in walk:
            walk.refuse_unreadable()
            self.paths[composed(parts[-1])].append("/".join(parts))

    def find(self, name: str) -> str | None:
        """Return the path below the root; None where it is not there, ValueError where it is ambiguous."""
        spelling = next((spelling for spelling in file_names(name) if spelling in self.paths), None)
        if spelling is None:
            return None
        paths = self.paths[spelling]
        if len(paths) > 1:
            raise ValueError(
                f"{spelling} is ambiguous, there are {' and '.join(paths[:2])}; with data.match_names=true "
                f"every name may occur only once below {self.root}"
            )
        return paths[0]

    def log_unnamed(self, paths: Iterator[str], channels: int) -> None:
        unnamed = {path for of_name in self.paths.values() for path in of_name} - set(paths)
        images = sorted(name for name in unnamed if has_extension(name, channels))
        if images:
            message = "table      %d images below %s have no row and are left out (first: %s)"
            log.info(message, len(images), self.root, images[0])


def file_names(path: str) -> Iterator[str]:
    """Yield the names that the file of a path or URL may have, the likeliest first."""
    path = path.rpartition("?d=")[2]  # Label Studio's /data/local-files/?d=folder/cat.jpg
    yield composed(path).rpartition("/")[2]
    name = composed(unquote(path.partition("?")[0])).rpartition("/")[2]
    yield name
    yield UPLOADED.sub("", name)


def files_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if not is_folder(entry))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return frozenset()
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}).") from error


def has_extension(name: str, channels: int, extension: str = "") -> bool:
    """Return whether a name ends like an image file, or with `extension`; an id may have dots, too."""
    ending = os.path.splitext(name.lower())[1]  # noqa: PTH122
    return ending in image_extensions(channels) or ending == f".{extension.lower().removeprefix('.')}"


def read_split(column: str, row: Row) -> str:
    split = split_of(row[column].strip())
    if split is None:
        raise ValueError(f"{column} is {row[column]!r}, not one of {', '.join(SPLITS)}")
    return split


def read_weight(column: str, row: Row) -> float:
    try:
        weight = float(row[column])
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"{column} is {row[column]!r}, not a number above 0")
    return weight
