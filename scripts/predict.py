"""Predict for images: python scripts/predict.py checkpoint=best.ckpt input=FOLDER

Images are read recursively and written in a stable order, a row each. The row of an unreadable image has an
error, and the exit code is then 3.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from rich.console import Console
from rich.progress import track

from graft.cli.script_settings import Checkpoint, File, Names, run_script
from graft.settings import Count, PathText, Settings, Share

if TYPE_CHECKING:
    from graft.inference.model import Prediction
    from graft.inference.prediction_files import Row

FEW = 20  # Fewer images are also printed.


class PredictSettings(Settings):
    """The settings of predict.py."""

    checkpoint: Checkpoint = Field(description="a checkpoint, a run's folder, or a file that export.py wrote")
    input: PathText = Field(description="a folder, a quoted pattern such as 'FOLDER/**/*.jpg', or a file")
    output: File = Field(Path("predictions.csv"), description="the file to write: .csv, .jsonl or .parquet")
    top_k: Count = Field(1, description="with classes: how many are named, the most probable first")
    threshold: Share = Field(
        0.0, description="with classes: a column is_certain says whether the probability reaches it"
    )
    tta: Literal["flip"] | None = Field(None, description="flip: average an image and its mirror image")
    copy_to: File | None = Field(
        None, description="with classes: a new folder to copy images to by label; uncertain ones apart"
    )
    batch_size: Count = Field(32, description="images that go through the network at once")
    allow: Names = Field([], description="packages that the model may import, of networks or metrics")


def work(settings: dict[str, Any]) -> int:
    """Write the predictions; return 3 where images are unreadable."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.prediction_files import ClassFolders, Table, checked_writer
    from graft.inference.runtimes import load_model
    from graft.inference.search import find_images
    from graft.memory import keep_freed_memory

    keep_freed_memory()
    output, source, copy_to = settings["output"], settings["input"], settings["copy_to"]
    write = checked_writer(output)
    folders = ClassFolders(copy_to, source) if copy_to else None
    model = load_model(settings["checkpoint"], settings["allow"])
    images = find_images(source, model.preprocessing.channels)
    if folders:
        model.refuse_unless_multiclass(f"copy_to={copy_to}")
    table = Table(model, settings["top_k"], settings["threshold"] > 0)
    predictions = model.stream(
        images, settings["threshold"], settings["tta"] == "flip", settings["batch_size"]
    )
    total = unreadable = 0
    first: list[Row] = []

    def rows() -> "Iterator[Row]":
        nonlocal total, unreadable
        for prediction in with_progress(predictions, source, model.preprocessing.channels):
            row = table.row(prediction)
            total += 1
            unreadable += bool(prediction.error)
            if total < FEW:
                first.append(row)
            if folders:
                folders.copy(prediction)
            yield row

    write(output, table, rows())
    if total < FEW:
        sys.stdout.write(f"{small_table(first)}\n")
    sys.stdout.write(f"{total} images, {unreadable} unreadable: {output}\n")
    return 3 if unreadable else 0


def with_progress(predictions: "Iterator[Prediction]", source: str, channels: int) -> "Iterator[Prediction]":
    """Yield the predictions, with a bar on a terminal; the images are counted first for it."""
    from graft.inference.search import find_images

    if not sys.stderr.isatty():
        yield from predictions
        return
    total = sum(1 for _ in find_images(source, channels))
    yield from track(predictions, "predicting", total, console=Console(stderr=True), transient=True)


def small_table(rows: "Sequence[Row]") -> str:
    """Return paths, labels and probabilities as aligned columns; the reason for an unreadable image."""
    width = max(len(row["path"]) for row in rows)
    labels = max(len(row["label"] or "") for row in rows)
    lines = []
    for row in rows:
        text = f"{row['label'] or '(no label)':<{labels}}"
        if row["error"]:
            text = f"cannot be read: {row['error']}"
        elif "probability" in row:
            text += f"  {row['probability']:.4f}{'' if row.get('is_certain', True) else '  uncertain'}"
        lines.append(f"{row['path']:<{width}}  {text}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", PredictSettings, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
