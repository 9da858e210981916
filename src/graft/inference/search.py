"""Finds the images that `input=` names: a file, a folder with all below it, or a glob pattern."""

import glob
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path

from graft.data.images import image_extensions
from graft.data.walking import Walk
from graft.errors import UserError, suggestion


def find_images(source: str, channels: int = 3) -> Iterator[Path]:
    """Return the images that may have these channels, sorted by name; UserError where there is none.

    A folder is walked as the images are asked for, so that only one folder's names are in memory.
    Hidden files and folders are left out, as in training.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return iter([path])
    extensions = image_extensions(channels)
    images = walked(path, extensions) if path.is_dir() else matching(source, extensions)
    first = next(images, None)
    if first is None:
        if not path.is_dir() and not glob.has_magic(source):
            near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"input={source}: there is no such file or folder.{suggestion(path.name, near)}")
        raise UserError(f"input={source}: there are no images.")
    return chain([first], images)


def base_folder(source: str) -> Path:
    """Return the folder that the names of the images of `source` begin below."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file() or not glob.has_magic(source):
        return path.parent
    return next(parent for parent in path.parents if not glob.has_magic(str(parent)))


def walked(folder: Path, extensions: Collection[str]) -> Iterator[Path]:
    """Yield the images below a folder by name, and folders that cannot be listed: a row says why."""
    walk = Walk(folder)
    for parts in walk:
        path = folder.joinpath(*parts)
        if path.suffix.lower() in extensions or parts in walk.unreadable:
            yield path


def matching(pattern: str, extensions: Collection[str]) -> Iterator[Path]:
    """Yield the images that match a glob pattern by name; `**` stands for any number of folders."""
    named = glob.iglob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207 -- patterns with a root
    paths = sorted(set(map(Path, named)))
    return (path for path in paths if path.suffix.lower() in extensions and path.is_file())
