"""Finds pictures that cannot be decoded, before training does; good ones are remembered."""

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from rich.console import Console
from rich.progress import track

from graft.data.images import open_rgb
from graft.errors import UserError

log = logging.getLogger(__name__)

MOST_NAMED = 10
MANY = 5000  # Pictures from which on the check takes long enough for a progress bar.


def inspect_pictures(paths: Sequence[Path], remembered: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return a hash of every picture's file, and of those that cannot be decoded, the reason.

    Every file is read and decoded once; `remembered` lists the hashes of the good ones by path, size and
    time of change, so that another run only asks for those.
    """
    known = read_remembered(remembered)
    marks = {path: mark(path) for path in paths}
    new = [path for path in paths if marks[path] not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found: Iterable[tuple[str, str]] = pool.map(inspect, new)
        if len(new) >= MANY and sys.stderr.isatty():
            console = Console(stderr=True)
            found = track(found, "checking pictures", total=len(new), console=console, transient=True)
        results = dict(zip(new, found, strict=True))
    bad = {path: reason for path, (_, reason) in results.items() if reason}
    if new:
        known |= {marks[path]: digest for path, (digest, _) in results.items() if path not in bad}
        write_remembered(remembered, known)
    return {path: known[marks[path]] for path in paths if path not in bad}, bad


def mark(path: Path) -> str:
    """Return what changes whenever the file does."""
    try:
        status = path.stat()
    except OSError:
        return f"missing\t{path.absolute()}"  # Such as a link to nothing: reading it gives the reason.
    return f"{status.st_size}\t{status.st_mtime_ns}\t{path.absolute()}"


def inspect(path: Path) -> tuple[str, str]:
    """Return a hash of the file, and why it cannot be decoded, empty where it can."""
    try:
        contents = path.read_bytes()
        # A JPEG's smallest size is quick, and still reads it to the end.
        open_rgb(BytesIO(contents), shorter_side=1)
    except Exception as error:
        # Pillow's decoders raise many types; each means that this file cannot be used.
        return "", (str(error).splitlines() or [""])[0] or type(error).__name__
    return hashlib.blake2b(contents, digest_size=16).hexdigest(), ""


def read_remembered(file: Path) -> dict[str, str]:
    """Return the hashes of pictures known to be good, by their marks."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return {mark: digest for digest, mark in (line.split("\t", 1) for line in lines)}
    except (OSError, ValueError):
        return {}


def write_remembered(file: Path, known: dict[str, str]) -> None:
    """Write the hashes in one step; a cache folder that cannot be written only costs time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as lines:
            lines.writelines(f"{digest}\t{mark}\n" for mark, digest in sorted(known.items()))
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
