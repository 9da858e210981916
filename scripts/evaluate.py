"""Measure a model on labelled images: python scripts/evaluate.py checkpoint=best.ckpt data.root=FOLDER

FOLDER/CLASS/*.jpg: all images. FOLDER/{train,val,test}/CLASS/*.jpg, or data.splits: those of a split.
Labels in a table: data.file=labels.csv data.target=COLUMN.
"""

import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, Names, run_script
from graft.errors import UserError
from graft.settings import Count, Settings, Text


class EvaluateSettings(Settings):
    """The settings of evaluate.py."""

    checkpoint: Checkpoint = Field(description="a checkpoint, a run's folder, or a file that export.py wrote")
    root: File | None = Field(
        None, alias="data.root", description="the folder of labelled images; with data.file of its images"
    )
    layout: Literal["auto", "classes", "splits"] = Field(
        "auto", alias="data.layout", description="what the top folders are; auto: by their names"
    )
    keep_together: Text | None = Field(
        None, alias="data.keep_together", description="column of metadata.csv: one value, one group of images"
    )
    file: File | None = Field(None, alias="data.file", description="a table of images, .csv or .parquet")
    target: Names | None = Field(None, alias="data.target", description="its target columns")
    path_column: Text = Field("path", alias="data.path_column", description="its column of image paths")
    split_column: Text | None = Field(None, alias="data.split_column", description="its column of splits")
    group_column: Text | None = Field(None, alias="data.group_column", description="its column of groups")
    extension: Text | None = Field(
        None, alias="data.extension", description="what is appended to its paths, such as .jpg"
    )
    match_names: bool = Field(
        False, alias="data.match_names", description="true: find its images by their names alone"
    )
    splits: File | None = Field(
        None, alias="data.splits", description="a run's splits.csv, which says the split of each image"
    )
    split: Literal["train", "val", "test"] | None = Field(
        None, description="train, val or test; test where there is one"
    )
    output: File | None = Field(None, description="a .json file to write the metrics to as well")
    report: File | None = Field(None, description="a .html file for figures and mistakes")  # room: reporting
    batch_size: Count = Field(32, description="images that go through the network at once")
    allow: Names = Field([], description="packages that the model may import, of networks or metrics")


def work(settings: dict[str, Any]) -> int:
    """Print the metrics and write them where `output` and `report` say."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.evaluation import evaluate, labelled_images, trained_on
    from graft.inference.runtimes import load_model
    from graft.memory import keep_freed_memory

    keep_freed_memory()
    checkpoint = settings["checkpoint"]
    data = of_source({key[5:]: value for key, value in settings.items() if key.startswith("data.")})
    output = writable(settings, "output", ".json")
    report = writable(settings, "report", ".html")  # room: reporting
    model = load_model(checkpoint, settings["allow"])
    data["channels"] = model.preprocessing.channels  # .npy files are images of some models.
    root, samples = labelled_images(data, model.task, settings["split"], settings["data.splits"])
    found = evaluate(model, root, samples, settings["batch_size"])
    width = max(map(len, found.metrics))
    for name, value in found.metrics.items():
        sys.stdout.write(f"{name:<{width}}  {value:.4f}\n")
    sys.stdout.write(f"{len(samples)} images of {root}\n")
    if settings["split"] is None and (seen := trained_on(checkpoint, samples)):
        splits = shlex.quote(str(checkpoint.parent.parent / "splits.csv"))
        same = f"{seen} of them have the paths of images that the network was trained on"
        sys.stdout.write(f"{same}: if they are the same, this is too optimistic; ")
        sys.stdout.write(f"for its test images, add data.splits={splits}\n")
    if output:
        # JSON has no NaN, which is the AUROC of a folder with one class.
        known = {name: None if math.isnan(value) else value for name, value in found.metrics.items()}
        figures = known | {"images": len(samples)}
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if report:  # room: reporting
        from graft.reporting.report.evaluation import write_evaluation_report  # room: reporting

        typed = [w for w in sys.argv[1:] if w[:7] not in ("output=", "report=")]  # room: reporting
        command = shlex.join(["python", "scripts/evaluate.py", *typed])  # room: reporting
        allow = settings["allow"]  # room: reporting
        write_evaluation_report(report, found, model, checkpoint, root, command, allow)  # room: reporting
    return 0


def writable(settings: dict[str, Any], key: str, extension: str) -> Path | None:
    """Return the file that a setting names; UserError where it has another extension or no folder."""
    file: Path | None = settings[key]
    if file and (file.suffix.lower() != extension or not file.parent.is_dir()):
        raise UserError(f"{key}={file}: write a {extension} file in a folder that exists.")
    return file


def of_source(data: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the folder's or the table's source."""
    if data["file"]:
        if not data["target"]:
            raise UserError("data.target is needed: write data.target=COLUMN, the column of the labels.")
        return {"_target_": "graft.data.sources.table.Table", **data}
    if not data["root"]:
        raise UserError("data.root is needed: write data.root=FOLDER, or data.file=TABLE.")
    return {"_target_": "graft.data.sources.folder.Folder", **data}


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", EvaluateSettings, work, ("checkpoint", "data.root"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
