"""Folders of what can be computed anew, one a recipe: what they hold, who uses them, which have to go."""

import json
import logging
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from graft.errors import UserError
from graft.files import replacing

try:
    import fcntl
except ImportError:  # Windows, which refuses to delete a file that is open.
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

RECIPE = "recipe.json"  # Written anew by every run that uses the folder: its time is that of the last use.


@dataclass(frozen=True)
class CacheFolder:
    """The features or decoded images of one recipe."""

    path: Path
    recipe: dict[str, Any]
    size: int  # bytes
    last_used: float  # seconds since 1970


class Use:
    """Marks a folder as used by this process until the object is gone; a killed process marks nothing.

    The mark is a shared lock on a file beside the folder, so that several processes may use it.
    """

    def __init__(self, folder: Path, cache: "Cache") -> None:
        mark = use_mark(folder).open("wb")
        if fcntl is not None:
            fcntl.flock(mark, fcntl.LOCK_SH)
        self.end = weakref.finalize(self, end_use, mark, cache, os.getpid())

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Leave the mark to the process that made it: a spawned worker gets a bare object."""
        return object, ()


def end_use(mark: IO[bytes], cache: "Cache", owner: int) -> None:
    """Give the folder back, and remove what there was no room for while it was used."""
    mark.close()
    if os.getpid() == owner:  # A forked worker only drops its copy.
        cache.enforce_limit()


@dataclass(frozen=True)
class Cache:
    """The settings `cache`: a folder with `features/` and `images/`, and how much both may hold together.

    `limit_gb`: gigabytes (10^9 bytes), above 0. Raises UserError for another limit.
    """

    dir: Path
    limit_gb: float

    def __post_init__(self) -> None:
        if isinstance(self.limit_gb, bool) or not self.limit_gb > 0:
            raise UserError(f"cache.limit_gb={self.limit_gb}: write gigabytes, a number above 0.")

    @property
    def features(self) -> Path:
        """The folders of features."""
        return self.dir / "features"

    @property
    def images(self) -> Path:
        """The folders of decoded images."""
        return self.dir / "images"

    @contextmanager
    def filling(self, folder: Path, recipe: dict[str, Any]) -> Iterator[Use]:
        """Make and lock a folder while it is filled; the use that is given goes on after that.

        A second process waits, and then finds all that the first has stored. Raises OSError where the folder
        cannot be used.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_of(folder)):
            use = Use(folder, self)
            folder.mkdir(exist_ok=True)
            with replacing(folder / RECIPE) as file:
                file.write((json.dumps(recipe, indent=2, sort_keys=True) + "\n").encode())
            yield use
        self.enforce_limit()

    def enforce_limit(self) -> None:
        """Remove folders that no process uses, those not used for longest first, until the limit holds."""
        folders = cache_folders(self.features) + cache_folders(self.images)
        total = sum(folder.size for folder in folders)
        for folder in sorted(folders, key=lambda folder: folder.last_used):
            if total <= self.limit_gb * 1e9:
                return
            if remove(folder):
                total -= folder.size
                days = (time.time() - folder.last_used) / 86400
                size = folder.size / 1e9
                log.info("cache      removed %s: %.2g GB, not used for %.0f days", folder.path, size, days)


def home_expanded(folder: str) -> Path:
    """Return the folder `cache.dir`. Raises UserError where `~` stands for nothing, as in some containers."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"cache.dir={folder}: there is no home folder; write cache.dir=DIR, or set GRAFT_CACHE=DIR."
        ) from error


def cache_folders(root: Path) -> list[CacheFolder]:
    """Return the folders below `root`, the one used last first."""
    found = []
    for file in sorted(root.glob(f"*/{RECIPE}")):
        try:
            recipe = json.loads(file.read_text(encoding="utf-8"))
            found.append(CacheFolder(file.parent, recipe, size_of(file.parent), file.stat().st_mtime))
        except (OSError, ValueError):
            continue  # Another process is just making or removing it.
    return sorted(found, key=lambda folder: -folder.last_used)


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; one that is renamed or removed meanwhile does not count."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue
    return total


def lock_of(folder: Path) -> Path:
    """Return the file that is locked while a folder is filled or removed; beside it, so that it stays."""
    return folder.with_suffix(".lock")


def use_mark(folder: Path) -> Path:
    """Return the file that every process that uses a folder holds open."""
    return folder.with_suffix(".used")


def remove(folder: CacheFolder) -> bool:
    """Remove a folder that no process fills or uses; return whether it is gone."""
    try:
        with FileLock(lock_of(folder.path), timeout=0):
            if is_used(folder.path):
                return False
            shutil.rmtree(folder.path)
    except (Timeout, OSError):  # OSError: such as a read-only cache.
        return not folder.path.exists()
    return True


def is_used(folder: Path) -> bool:
    """Return whether a process uses the folder; the caller holds the folder's lock."""
    mark = use_mark(folder)
    if fcntl is None:
        try:
            mark.unlink(missing_ok=True)
        except PermissionError:
            return True
        return False
    with mark.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
