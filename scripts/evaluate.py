"""Measure a model on labelled images: python scripts/evaluate.py checkpoint=best.ckpt data.root=FOLDER

FOLDER/CLASS/*.jpg: all images. FOLDER/{train,val,test}/CLASS/*.jpg, or data.splits: those of a split.
"""

import sys
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, run_script
from graft.settings import Count, Settings


class EvaluateSettings(Settings):
    """The settings of evaluate.py."""

    checkpoint: Checkpoint = Field(description="a checkpoint, a run's folder, or a file that export.py wrote")
    root: File = Field(alias="data.root", description="the folder of labelled images")
    layout: Literal["auto", "classes", "splits"] = Field(
        "auto", alias="data.layout", description="what the top folders are; auto: by their names"
    )
    splits: File | None = Field(
        None, alias="data.splits", description="a run's splits.csv, which says the split of each image"
    )
    split: Literal["train", "val", "test"] | None = Field(
        None, description="train, val or test; test where there is one"
    )
    output: File | None = Field(None, description="a .json file to write the metrics to as well")
    report: File | None = Field(
        None, description="a .html file to write metrics, figures and mistakes to, as a run does"
    )
    batch_size: Count = Field(32, description="images that go through the network at once")


def work(settings: dict[str, Any]) -> int:
    """Print the metrics and write them where `output` says."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.evaluation import write_evaluation

    root, splits = settings.pop("data.root"), settings.pop("data.splits")
    layout = settings.pop("data.layout")
    write_evaluation(root=root, splits_file=splits, layout=layout, **settings)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", EvaluateSettings, work, ("checkpoint", "data.root"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
