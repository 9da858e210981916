"""Cache folders, one per recipe: marked while they are in use, removed where the limit is exceeded."""

import json
import logging
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

RECIPE = "recipe.json"  # Rewritten by every run that uses the folder: its time is that of the last use.


@dataclass(frozen=True)
class CacheFolder:
    path: Path
    recipe: dict[str, Any]
    size: int  # bytes
    last_used: float  # seconds since 1970


class Use:
    """Marks a folder as used, by a shared lock, until the object is deleted or the process ends."""

    def __init__(self, folder: Path, cache: "Cache") -> None:
        mark = mark_of(folder).open("wb")
        if fcntl is not None:
            fcntl.flock(mark, fcntl.LOCK_SH)
        self.end = weakref.finalize(self, end_use, mark, cache, os.getpid())

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Leave the mark to the process that made it: a spawned worker gets a bare object."""
        return object, ()


def end_use(mark: IO[bytes], cache: "Cache", owner: int) -> None:
    mark.close()
    if os.getpid() == owner:  # A forked worker only drops its copy.
        cache.enforce_limit()


@dataclass(frozen=True)
class Cache:
    """The settings `cache`: a folder with `features/` and `images/`, and how much both may hold together.

    `limit_gb` is in gigabytes (10^9 bytes), above 0.
    """

    dir: Path
    limit_gb: float

    @property
    def features(self) -> Path:
        return self.dir / "features"

    @property
    def images(self) -> Path:
        return self.dir / "images"

    @contextmanager
    def filling(self, folder: Path, recipe: dict[str, Any]) -> Iterator[Use]:
        """Create and lock a folder while it is filled; hold on to the `Use` for as long as it is read.

        A second process waits for the first and finds everything stored. Raises OSError where the folder
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
        """Remove folders that no process uses, the least recently used first, until the limit holds."""
        folders = cache_folders(self.features) + cache_folders(self.images)
        total = sum(folder.size for folder in folders)
        for folder in sorted(folders, key=lambda folder: folder.last_used):
            if total <= self.limit_gb * 1e9:
                return
            if remove(folder):
                total -= folder.size
                message = "cache      removed %s: %.2g GB, not used for %.0f days"
                log.info(message, folder.path, folder.size / 1e9, (time.time() - folder.last_used) / 86400)


def home_expanded(folder: str) -> Path:
    """Return the folder `cache.dir`. Raises UserError where there is no home, as in some containers."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"cache.dir={folder}: there is no home folder; write cache.dir=DIR, or set GRAFT_CACHE=DIR."
        ) from error


def cache_folders(root: Path) -> list[CacheFolder]:
    folders = []
    for file in sorted(root.glob(f"*/{RECIPE}")):
        try:
            recipe = json.loads(file.read_text(encoding="utf-8"))
            folders.append(CacheFolder(file.parent, recipe, size_of(file.parent), file.stat().st_mtime))
        except (OSError, ValueError):
            continue  # Another process is just creating or removing it.
    return sorted(folders, key=lambda folder: -folder.last_used)


def size_of(folder: Path) -> int:
    total = 0
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # Another process has renamed or removed it.
            total += entry.stat().st_size
    return total


def lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def mark_of(folder: Path) -> Path:
    return folder.with_suffix(".used")


def remove(folder: CacheFolder) -> bool:
    """Remove a folder unless a process fills or uses it; return whether it is gone."""
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
    mark = mark_of(folder)
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
