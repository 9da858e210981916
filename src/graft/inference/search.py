"""Finds the images that `input=` names: a file, a folder with all below it, or a glob pattern."""

import glob
from collections.abc import Iterator
from pathlib import Path

from graft.data.images import image_endings
from graft.data.walking import Walk
from graft.errors import UserError, suggestion


def find_images(source: str) -> Iterator[Path]:
    """Return the images in an order that depends on their names alone; UserError where there is none.

    A folder is walked as the images are asked for, so that only one folder's names are in memory.
    Hidden files and folders are left out, as in training.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return iter([path])
    found = walked(path) if path.is_dir() else match(source)
    first = next(found, None)
    if first is None:
        if not path.is_dir() and not glob.has_magic(source):
            near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"input={source}: there is no such file or folder.{suggestion(path.name, near)}")
        raise UserError(f"input={source}: there are no images.")
    return with_first(first, found)


def base_folder(source: str) -> Path:
    """Return the folder that the names of the images of `source` begin below."""
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


def walked(folder: Path) -> Iterator[Path]:
    """Yield the images below a folder by name, and folders that cannot be listed: a row says why."""
    endings = image_endings()
    walk = Walk(folder)
    for parts in walk:
        path = folder.joinpath(*parts)
        if path.suffix.lower() in endings or parts in walk.unreadable:
            yield path


def match(pattern: str) -> Iterator[Path]:
    """Yield the images that match a glob pattern by name; `**` stands for any number of folders."""
    endings = image_endings()
    named = glob.iglob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207 -- patterns with a root
    paths = sorted(set(map(Path, named)))
    return (path for path in paths if path.suffix.lower() in endings and path.is_file())
