"""Finds the labelled pictures of a folder: `root/CLASS/*` or `root/{train,val,test}/CLASS/*`."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from graft.data.images import picture_endings
from graft.data.tables import read_rows
from graft.errors import UserError, suggestion

log = logging.getLogger(__name__)

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
METADATA = "metadata.csv"


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture."""

    path: str  # relative to the folder, with slashes
    class_name: str
    split: str | None = None  # train, val or test; None where it is still to be made
    stratum: str = ""  # splits keep the shares of these values ...
    unit: str = ""  # ... and keep pictures of the same unit together, where it is not empty
    digest: str = ""  # a hash of the file's bytes


def scan_folder(root: Path, needs_train: bool = True) -> list[Sample]:
    """Return the pictures of `root`, sorted by path.

    Without `needs_train`, split folders may lack train. Raises UserError where the folder is missing, cannot
    be listed, holds no pictures or has them outside class folders.
    """
    if not root.is_dir():
        near = [folder.name for folder in root.parent.iterdir()] if root.parent.is_dir() else []
        raise UserError(f"data.root={root}: there is no such folder.{suggestion(root.name, near)}")
    samples, others = [], []
    endings = picture_endings()
    for parts in sorted(walk(root)):
        relative = "/".join(parts)
        if os.path.splitext(parts[-1])[1].lower() not in endings:  # noqa: PTH122 (a hundred thousand files)
            others.append(relative)
        elif len(parts) > 2 and parts[0] in SPLIT_FOLDERS:
            samples.append(Sample(relative, parts[1], SPLIT_FOLDERS[parts[0]]))
        elif len(parts) > 1 and parts[0] not in SPLIT_FOLDERS:
            samples.append(Sample(relative, parts[0]))
        else:
            raise UserError(f"{root / relative} lies in no class folder; move it to {root}/CLASS/.")
    mention(root, [name for name in others if name != METADATA])
    check_layout(root, samples, needs_train)
    return samples


def walk(root: Path) -> Iterator[tuple[str, ...]]:
    """Yield the parts of every file's path below `root`; hidden files and folders are left out.

    Links are followed, except to a folder that they lie in. Raises UserError where one cannot be listed.
    """
    todo: list[tuple[tuple[str, ...], frozenset[tuple[int, int]]]] = [((), frozenset())]
    while todo:
        parts, above = todo.pop()
        folder = root.joinpath(*parts)
        try:
            status = folder.stat()
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError as error:
            raise UserError(f"data.root={root}: {folder} cannot be listed ({error.strerror}).") from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            log.warning("%s is a link to a folder that it lies in, and is left out", folder)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if is_folder(entry):
                todo.append(((*parts, entry.name), above | {identity}))
            else:
                yield (*parts, entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself: listed as a file, it is found unreadable.


def mention(root: Path, others: list[str]) -> None:
    """Say which files are no pictures by their ending, so that none is left out in silence."""
    if others:
        first = ", ".join(others[:3])
        log.warning("%s: %d files are no pictures and are left out (%s)", root, len(others), first)


def check_layout(root: Path, samples: list[Sample], needs_train: bool) -> None:
    """Raise a UserError where the pictures are in neither of the two layouts."""
    if not samples:
        raise UserError(
            f"data.root={root} holds no pictures: {root}/CLASS/*.jpg or {root}/train/CLASS/*.jpg is expected."
        )
    splits = {sample.split for sample in samples}
    if None in splits and len(splits) > 1:
        loose = next(sample.path for sample in samples if sample.split is None)
        raise UserError(f"{root} has split folders and, beside them, {loose}: move it into train/.")
    if needs_train and None not in splits and "train" not in splits:
        raise UserError(f"{root} has {', '.join(sorted(map(str, splits)))} but no train folder.")


def with_metadata(
    root: Path, samples: list[Sample], stratify_by: str | None, keep_together: str | None
) -> list[Sample]:
    """Return the samples with the values of `root/metadata.csv` that splits have to respect.

    Raises UserError where the file, a column or a picture's row is missing.
    """
    if stratify_by is None and keep_together is None:
        return samples
    file = root / METADATA
    if not file.is_file():
        raise UserError(f"data.stratify_by and data.keep_together need {file} (columns: path, ...).")
    columns, listed = read_rows(file)
    rows = {row["path"]: row for row in listed if row.get("path")}
    for key, column in (("stratify_by", stratify_by), ("keep_together", keep_together)):
        if column is not None and column not in columns:
            raise UserError(f"data.{key}={column}: {file} has no such column.{suggestion(column, columns)}")
    missing = [sample.path for sample in samples if sample.path not in rows]
    if missing:
        raise UserError(f"{file} has no row for {len(missing)} pictures (first: {missing[0]}).")
    return [
        replace(
            sample,
            stratum=rows[sample.path][stratify_by] if stratify_by else "",
            unit=rows[sample.path][keep_together] if keep_together else "",
        )
        for sample in samples
    ]
