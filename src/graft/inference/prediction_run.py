"""The work of `scripts/predict.py`: from images to a file of predictions, with a progress bar."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from graft.inference.model import Model
from graft.inference.prediction_files import ClassFolders, Row, Table, checked_ending, open_table, small_table
from graft.inference.runtimes import load_model
from graft.inference.search import find_images
from graft.memory import keep_freed_memory

FEW = 20  # Fewer images are also printed.

Item = TypeVar("Item")


def write_predictions(
    checkpoint: Path,
    input: str,  # noqa: A002 -- the setting's name
    output: Path,
    top_k: int,
    threshold: float,
    tta: str | None,
    copy_to: Path | None,
    batch_size: int,
) -> tuple[int, int]:
    """Write a row for every image; return how many there are, and how many could not be read.

    Raises UserError for settings that do not fit, before anything is written.
    """
    keep_freed_memory()
    checked_ending(output)
    images = find_images(input)
    folders = ClassFolders(copy_to, input) if copy_to else None
    model: Model = load_model(checkpoint)
    table = Table(model.class_names, top_k)
    total = bad = 0
    first: list[Row] = []
    with open_table(output, table) as write:
        found = model.stream(images, threshold, tta == "flip", batch_size)
        for prediction in with_progress(found, input):
            row = table.row(prediction)
            write(row)
            if folders:
                folders.copy(prediction)
            if total < FEW:
                first.append(row)
            total += 1
            bad += bool(prediction.error)
    if total < FEW:
        sys.stdout.write(f"{small_table(first)}\n")
    sys.stdout.write(f"{total} images, {bad} unreadable: {output}\n")
    return total, bad


def with_progress(found: Iterable[Item], source: str) -> Iterator[Item]:
    """Yield what is found, with a bar on a terminal; the images are counted first for it."""
    if not sys.stderr.isatty():
        yield from found
        return
    total = sum(1 for _ in find_images(source))
    console = Console(stderr=True)
    yield from track(found, "predicting", total=total, console=console, transient=True)
