"""Name the class of images: python scripts/predict.py checkpoint=best.ckpt input=FOLDER

Images are read recursively and written in a stable order, a row each. One that cannot be read becomes
a row with an error, and the exit code 3.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, run_script
from graft.settings import Count, PathText, Settings, Share


class PredictSettings(Settings):
    """The settings of predict.py."""

    checkpoint: Checkpoint = Field(description="a checkpoint, a run's folder, or a file that export.py wrote")
    input: PathText = Field(description="a folder, a quoted pattern such as 'FOLDER/**/*.jpg', or a file")
    output: File = Field(Path("predictions.csv"), description="the file to write: .csv, .jsonl or .parquet")
    top_k: Count = Field(1, description="how many classes are named, the most probable first")
    threshold: Share = Field(0.0, description="below this probability the label is unsure")
    tta: Literal["flip"] | None = Field(None, description="flip: average an image and its mirror image")
    copy_to: File | None = Field(None, description="a new folder that images are copied to, sorted by label")
    batch_size: Count = Field(32, description="images that go through the network at once")


def work(settings: dict[str, Any]) -> int:
    """Write the predictions; return 3 where images could not be read."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.prediction_run import write_predictions

    _, bad = write_predictions(**settings)
    return 3 if bad else 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", PredictSettings, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
