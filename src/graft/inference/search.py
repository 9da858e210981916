"""Finds the pictures that `input=` names: a file, a folder with all below it, or a glob pattern."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from graft.data.images import picture_endings
from graft.errors import UserError, suggestion


def find_pictures(source: str) -> Iterator[Path]:
    """Return the pictures in an order that depends on their names alone; UserError where there is none.

    A folder is walked as the pictures are asked for, so that only one folder's names are in memory.
    Hidden files and folders are left out, as in training.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return iter([path])
    found = walk_sorted(path) if path.is_dir() else match(source)
    first = next(found, None)
    if first is None:
        if not path.is_dir() and not glob.has_magic(source):
            near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"input={source}: there is no such file or folder.{suggestion(path.name, near)}")
        raise UserError(f"input={source}: there are no pictures.")
    return with_first(first, found)


def base_folder(source: str) -> Path:
    """Return the folder that the names of the pictures of `source` begin below."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file() or not glob.has_magic(source):
        return path.parent
    return next(parent for parent in path.parents if not glob.has_magic(str(parent)))


def with_first(first: Path, rest: Iterator[Path]) -> Iterator[Path]:
    """Yield the first and then the rest."""
    yield first
    yield from rest


def walk_sorted(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield the pictures below a folder by name; links are followed, except to a folder they lie in."""
    try:
        status = folder.stat()
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found if not entry.name.startswith("."))
    except OSError:
        yield folder  # It becomes a row that says why it cannot be read.
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    endings = picture_endings()
    for name in names:
        path = folder / name
        if path.is_dir():
            yield from walk_sorted(path, above | {identity})
        elif path.suffix.lower() in endings:
            yield path


def match(pattern: str) -> Iterator[Path]:
    """Yield the pictures that match a glob pattern by name; `**` stands for any number of folders."""
    endings = picture_endings()
    named = glob.iglob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207 -- patterns with a root
    paths = sorted(set(map(Path, named)))
    return (path for path in paths if path.suffix.lower() in endings and path.is_file())
