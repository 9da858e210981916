"""Folders of what can be computed anew, one a recipe: what each holds, and which go when room is short."""

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

RECIPE = "recipe.json"  # Written anew by every run that uses the folder: its time is that of the last use.


@dataclass(frozen=True)
class CacheFolder:
    """The features or decoded pictures of one recipe."""

    path: Path
    recipe: dict[str, Any]
    size: int  # bytes
    last_used: float  # seconds since 1970


def cache_folders(root: Path) -> list[CacheFolder]:
    """Return the folders below `root`, the one used last first."""
    found = []
    for file in root.glob(f"*/{RECIPE}"):
        try:
            recipe = json.loads(file.read_text(encoding="utf-8"))
            size = sum(part.stat().st_size for part in file.parent.iterdir())
            found.append(CacheFolder(file.parent, recipe, size, file.stat().st_mtime))
        except (OSError, ValueError):
            continue  # Another process is just making or removing it.
    return sorted(found, key=lambda folder: -folder.last_used)


def lock_of(folder: Path) -> Path:
    """Return the file that is locked while a folder is filled or removed; beside it, so that it stays."""
    return folder.with_suffix(".lock")


def remove(folder: CacheFolder) -> bool:
    """Remove a folder; return whether it was free to be."""
    try:
        with FileLock(lock_of(folder.path), timeout=0):
            shutil.rmtree(folder.path, ignore_errors=True)
    except Timeout:
        return False
    return True


def evict(keep: Path, limit: int) -> None:
    """Remove what was not used for longest, until all folders beside `keep` hold at most `limit` bytes."""
    total = 0
    for folder in cache_folders(keep.parent):
        total += folder.size
        if total > limit and folder.path != keep and remove(folder):
            total -= folder.size
            age = (time.time() - folder.last_used) / 86400
            log.info(
                "features   removed %s: %.1f GB, not used for %.0f days", folder.path, folder.size / 1e9, age
            )
