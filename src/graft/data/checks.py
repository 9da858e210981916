"""Finds images that cannot be decoded, before training does; good ones are remembered."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image

from graft.data.folder import Sample
from graft.data.images import ValueRange, extremes, has_free_range, open_rgb, usual_range
from graft.data.splits import SPLITS
from graft.data.threads import in_threads
from graft.errors import UserError
from graft.files import replacing

log = logging.getLogger(__name__)

MOST_NAMED = 10

# Paths are text here: a hundred thousand Path objects take seconds to make and to compare.
AnyPath = str | os.PathLike[str]


def without_unreadable(
    root: Path, samples: list[Sample], on_error: str, cache: Path, value_range: ValueRange | None = None
) -> tuple[list[Sample], ValueRange | None]:
    """Return the samples whose images can be decoded, with their hashes; refuse or warn about the others.

    Also returns the range of float and 32-bit images, the given one or the one of all of them together;
    None where there are no such.

    Raises UserError where none would be left of a class or of a given split.
    """
    folder = root.absolute()
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    paths = [f"{folder}/{sample.path}" for sample in samples]
    digests, bad, ranges = inspect_images(paths, cache / "checked" / f"{name}.tsv")
    if ranges:
        measured = min(low for low, _ in ranges.values()), max(high for _, high in ranges.values())
        value_range = value_range or usual_range(*measured)
        for path, (low, high) in ranges.items():
            if low < value_range[0] or high > value_range[1]:
                reason = f"its values go from {low:g} to {high:g}"
                bad[Path(path)] = f"{reason}, data.value_range={list(value_range)}"
        digests = ["" if Path(path) in bad else of for path, of in zip(paths, digests, strict=True)]
        log.info(
            "values     of %d float or 32-bit images: %g is black, %g is white (data.value_range)",
            len(ranges),
            *value_range,
        )
    refuse_or_skip(bad, on_error)
    kept = [replace(s, digest=digest) for s, digest in zip(samples, digests, strict=True) if digest]
    gone = [
        f"class {name}" for name in sorted({s.class_name for s in samples} - {s.class_name for s in kept})
    ]
    gone += [
        f"split {split}" for split in SPLITS if split in {s.split for s in samples} - {s.split for s in kept}
    ]
    if gone:
        raise UserError(
            f"data.on_error=skip leaves nothing of {', '.join(gone)}: no image there can be read. "
            f"Mend the images of {root}, or remove the whole folder."
        )
    return kept, value_range if ranges else None


def inspect_images(
    paths: Sequence[AnyPath], remembered: Path
) -> tuple[list[str], dict[Path, str], dict[str, ValueRange]]:
    """Return a hash of every image's file, of those that cannot be decoded the reason, and value ranges.

    The ranges are of float and 32-bit images: their smallest and largest value.
    The hashes are in the order of the paths, which are absolute; empty for what cannot be decoded. Every file
    is read and decoded once; `remembered` lists the hashes of the good ones by path, size and time of change,
    so that another run only asks for those.
    """
    known = read_remembered(remembered)
    marks = [mark(path) for path in paths]
    records = [known.get(of_file, "") for of_file in marks]
    digests = [record.partition(" ")[0] for record in records]
    new = [number for number, digest in enumerate(digests) if not digest]
    bad = {}
    results = in_threads(inspect, [paths[number] for number in new], "checking images")
    for number, (record, reason) in zip(new, results, strict=True):
        records[number] = record
        digests[number] = record.partition(" ")[0]
        if reason:
            bad[Path(paths[number])] = reason
        else:
            known[marks[number]] = record
    if new:
        write_remembered(remembered, known)
    ranges = {}
    for path, record in zip(paths, records, strict=True):
        if " " in record:
            low, high = map(float, record.split(" ")[1:])
            ranges[str(path)] = (low, high)
    return digests, bad, ranges


def mark(path: AnyPath) -> str:
    """Return what changes whenever the file does."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a hundred thousand files)
    except OSError:
        return f"missing\t{path}"  # Such as a link to nothing: reading it gives the reason.
    return f"{status.st_size}\t{status.st_mtime_ns}\t{path}"


def inspect(path: AnyPath) -> tuple[str, str]:
    """Return what is remembered of the file, and why it cannot be decoded, empty where it can.

    What is remembered is a hash and, of float and 32-bit images, the smallest and the largest value.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a hundred thousand files)
            contents = file.read()
        values = ""
        with Image.open(BytesIO(contents)) as opened:
            if has_free_range(opened):
                values = " {!r} {!r}".format(*extremes(opened))
        if not values:
            # A JPEG's smallest size is quick, and still reads it to the end.
            open_rgb(BytesIO(contents), shorter_side=1)
    except Exception as error:
        # Pillow's decoders raise many types; each means that this file cannot be used.
        return "", (str(error).splitlines() or [""])[0] or type(error).__name__
    return hashlib.blake2b(contents, digest_size=16).hexdigest() + values, ""


def read_remembered(file: Path) -> dict[str, str]:
    """Return the hashes of images known to be good, by their marks."""
    try:
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            return {mark: digest for digest, mark in (line.rstrip("\n").split("\t", 1) for line in lines)}
    except (OSError, ValueError):
        return {}


def write_remembered(file: Path, known: dict[str, str]) -> None:
    """Write the hashes in one step; a cache folder that cannot be written only costs time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as lines:
            records = sorted(known.items())
            lines.writelines(os.fsencode(f"{record}\t{mark}\n") for mark, record in records)
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): every run checks all images anew; make room, or choose another "
            "folder with cache.dir=DIR.",
            file,
            error.strerror or error,
        )


def refuse_or_skip(unreadable: dict[Path, str], on_error: str) -> None:
    """Raise a UserError that lists the unreadable images, or warn where they are to be left out."""
    if not unreadable:
        return
    named = [f"{path} ({reason.removesuffix('.')})" for path, reason in sorted(unreadable.items())]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    listed = f"{len(named)} unreadable images: {'; '.join(named[:MOST_NAMED])}{more}."
    if on_error == "raise":
        raise UserError(f"{listed} Fix or remove them, or leave them out with data.on_error=skip.")
    log.warning("LEFT OUT (data.on_error=skip): %s", listed)
