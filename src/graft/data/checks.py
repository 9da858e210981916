"""Finds images that cannot be decoded, before training does; good ones are remembered."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

from graft.data.images import ValueRange, measure_image, usual_range
from graft.data.sample import SPLITS, Sample
from graft.data.threads import in_threads
from graft.errors import UserError, reason
from graft.files import replacing

log = logging.getLogger(__name__)

MOST_NAMED = 10

# Paths are text here: a hundred thousand Path objects take seconds to make and to compare.
AnyPath = str | os.PathLike[str]


def without_unreadable(
    root: Path,
    samples: list[Sample],
    on_error: str,
    cache: Path,
    value_range: ValueRange | None = None,
    channels: int = 3,
) -> tuple[list[Sample], ValueRange | None]:
    """Return the samples whose images can be decoded, with their hashes; refuse or warn about the others.

    Also returns the value range, given or measured, of images whose type does not say what is white; None
    where there are no such. Raises UserError where nothing would be left of a class or of a given split.
    """
    folder = root.absolute()
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    name += f"-{channels}"
    paths = [f"{folder}/{sample.path}" for sample in samples]
    digests, bad, ranges = inspect_images(paths, cache / "checked" / f"{name}.tsv", channels)
    if ranges:
        measured = min(values[0] for values in ranges.values()), max(values[-1] for values in ranges.values())
        value_range = value_range or usual_range(*measured)
        for path, (low, high, *_) in ranges.items():
            if low < value_range[0] or high > value_range[1]:
                why = f"its values go from {low:g} to {high:g}"
                bad[Path(path)] = f"{why}, data.value_range={list(value_range)}"
        digests = ["" if Path(path) in bad else of for path, of in zip(paths, digests, strict=True)]
        log.info("values     of more than 8 bits: %g is black, %g is white (data.value_range)", *value_range)
    refuse_or_skip(bad, on_error)
    readable = [replace(s, digest=digest) for s, digest in zip(samples, digests, strict=True) if digest]
    gone = [f"class {name}" for name in sorted({s.stratum for s in samples} - {s.stratum for s in readable})]
    left = {s.split for s in readable}
    gone += [f"split {split}" for split in SPLITS if split in {s.split for s in samples} - left]
    if gone:
        raise UserError(
            f"data.on_error=skip leaves nothing of {', '.join(gone)}: no image there can be read. "
            f"Fix the images of {root}, or remove the whole folder."
        )
    return readable, value_range if ranges else None


def inspect_images(
    paths: Sequence[AnyPath], remembered: Path, channels: int = 3
) -> tuple[list[str], dict[Path, str], dict[str, tuple[float, ...]]]:
    """Return the hash of every image's file, empty where it cannot be decoded; the reasons; the value ranges.

    The ranges are those of `graft.data.images.measure_image`. Every file is read and decoded once: the file
    `remembered` lists the hashes of the good ones by absolute path, size and time of change.
    """
    known = read_remembered(remembered)
    marks = [mark(path) for path in paths]
    records = [known.get(of_file, "") for of_file in marks]
    new = [number for number, record in enumerate(records) if not record]
    bad = {}
    inspect_file = partial(inspect, channels=channels)
    results = in_threads(inspect_file, [paths[number] for number in new], "checking images")
    for number, (record, why) in zip(new, results, strict=True):
        records[number] = record
        if why:
            bad[Path(paths[number])] = why
        else:
            known[marks[number]] = record
    if new:
        write_remembered(remembered, known)
    digests = [record.partition(" ")[0] for record in records]
    ranges = {
        str(path): tuple(map(float, record.split(" ")[1:]))
        for path, record in zip(paths, records, strict=True)
        if " " in record
    }
    return digests, bad, ranges


def mark(path: AnyPath) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 (a hundred thousand files)
    except OSError:
        return f"missing\t{path}"  # Such as a link to nothing: reading it gives the reason.
    return f"{status.st_size}\t{status.st_mtime_ns}\t{path}"


def inspect(path: AnyPath, channels: int) -> tuple[str, str]:
    """Return what is remembered of the file, and why it cannot be decoded, empty where it can.

    What is remembered is a hash and what `measure_image` returns, separated by spaces.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a hundred thousand files)
            contents = file.read()
        values = measure_image(BytesIO(contents), channels)
    except UserError:
        raise  # A package is missing.
    except Exception as error:
        # Decoders raise many types; each means that this file cannot be used.
        return "", reason(error)
    digest = hashlib.blake2b(contents, digest_size=16).hexdigest()
    return " ".join([digest, *map(repr, values)]), ""


def read_remembered(file: Path) -> dict[str, str]:
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
        advice = "every run checks all images anew; make room, or choose another folder with cache.dir=DIR"
        log.warning("%s cannot be written (%s): %s.", file, error.strerror or error, advice)


def refuse_or_skip(unreadable: dict[Path, str], on_error: str) -> None:
    """Raise a UserError that lists the unreadable images, or warn where they are to be left out."""
    if not unreadable:
        return
    named = [f"{path} ({why.removesuffix('.')})" for path, why in sorted(unreadable.items())]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    listed = f"{len(named)} unreadable images: {'; '.join(named[:MOST_NAMED])}{more}."
    if on_error == "raise":
        raise UserError(f"{listed} Fix or remove them, or leave them out with data.on_error=skip.")
    log.warning("LEFT OUT (data.on_error=skip): %s", listed)
