"""Finds pictures that cannot be decoded, before training does; good ones are remembered."""

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from graft.data.images import open_rgb
from graft.errors import UserError

log = logging.getLogger(__name__)

MOST_NAMED = 10
MANY = 5000  # Pictures from which on the check takes long enough for a progress bar.


def unreadable_pictures(paths: Sequence[Path], remembered: Path) -> dict[Path, str]:
    """Return the pictures that cannot be decoded, with the reason.

    Every picture is decoded once; `remembered` is the file that lists the good ones by path, size and
    time of change, so that another run only asks for those.
    """
    known = read_remembered(remembered)
    marks = {path: mark(path) for path in paths}
    new = [path for path in paths if marks[path] not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons: object = pool.map(why_unreadable, new)
        if len(new) >= MANY and sys.stderr.isatty():
            console = Console(stderr=True)
            reasons = track(reasons, "checking pictures", total=len(new), console=console, transient=True)  # type: ignore[arg-type]
        bad = {path: reason for path, reason in zip(new, reasons, strict=True) if reason}  # type: ignore[call-overload]
    if new:
        write_remembered(remembered, known | {marks[path] for path in new if path not in bad})
    return bad


def mark(path: Path) -> str:
    """Return what changes whenever the file does."""
    try:
        status = path.stat()
    except OSError:
        return f"missing\t{path.absolute()}"  # Such as a link to nothing: reading it gives the reason.
    return f"{status.st_size}\t{status.st_mtime_ns}\t{path.absolute()}"


def why_unreadable(path: Path) -> str:
    """Return why a picture cannot be decoded, empty where it can."""
    try:
        # A JPEG's smallest size is quick, and still reads it to the end.
        open_rgb(path, shorter_side=1)
    except Exception as error:
        # Pillow's decoders raise many types; each means that this file cannot be used.
        return (str(error).splitlines() or [""])[0] or type(error).__name__
    return ""


def read_remembered(file: Path) -> set[str]:
    """Return the marks of pictures known to be good."""
    try:
        return set(file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def write_remembered(file: Path, marks: set[str]) -> None:
    """Write the marks in one step; a cache folder that cannot be written only costs time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as lines:
            lines.write("\n".join(sorted(marks)) + "\n")
        Path(name).replace(file)
    except OSError as error:
        log.warning("cannot remember which pictures are whole: %s", error)


def refuse_or_skip(unreadable: dict[Path, str], on_error: str) -> None:
    """Raise a UserError that lists the unreadable pictures, or warn where they are to be left out."""
    if not unreadable:
        return
    named = [f"{path} ({reason.removesuffix('.')})" for path, reason in sorted(unreadable.items())]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    listed = f"{len(named)} unreadable pictures: {'; '.join(named[:MOST_NAMED])}{more}."
    if on_error == "raise":
        raise UserError(f"{listed} Mend or remove them, or leave them out with data.on_error=skip.")
    log.warning("LEFT OUT (data.on_error=skip): %s", listed)
