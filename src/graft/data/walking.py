"""Walks a folder of images in an order that depends on names alone, and leaves out what systems put there."""

import os
from collections.abc import Iterator
from pathlib import Path

from graft.errors import UserError

Parts = tuple[str, ...]  # a path below the root

# Folders that file servers, file managers and archivers make, in lower case.
LITTER = frozenset(
    {
        "@eadir",  # Synology
        "@sharebin",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "lost+found",  # Linux
        "lost.dir",  # Android
        "__macosx",  # macOS
        "__pycache__",
    }
)


class Walk:
    """The files below a folder, as `Parts`, sorted; iterate over it once.

    Hidden files and folders are left out, and folders of `LITTER`, whose names are in `litter` afterwards.
    Links are followed, except to a folder that they lie in: those are in `loops`. `folders` has the parts of
    every folder; `unreadable` those that cannot be listed, with the reason.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: list[Parts] = []
        self.litter: list[str] = []
        self.loops: list[Path] = []
        self.unreadable: dict[Parts, str] = {}

    def __iter__(self) -> Iterator[Parts]:
        return self._files((), frozenset())

    def _files(self, parts: Parts, above: frozenset[tuple[int, int]]) -> Iterator[Parts]:
        """Yield what lies below a folder; `above` has the identities of the folders that it lies in."""
        folder = self.root.joinpath(*parts)
        try:
            status = folder.stat()
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable[parts] = error.strerror or str(error)
            yield parts
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self.loops.append(folder)
            return
        self.folders.append(parts)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not is_folder(entry):
                yield (*parts, entry.name)
            elif entry.name.lower() in LITTER:
                self.litter.append(entry.name)
            else:
                yield from self._files((*parts, entry.name), above | {identity})

    def refuse_unreadable(self) -> None:
        for parts, reason in self.unreadable.items():
            raise UserError(f"data.root: {self.root.joinpath(*parts)} cannot be listed ({reason}).")


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself: taken for a file, it is found unreadable.
