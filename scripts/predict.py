"""Name the class of pictures: python scripts/predict.py checkpoint=best.ckpt input=FOLDER

Pictures are read recursively and written in a stable order, a row each. One that cannot be read becomes
a row with an error, and the exit code 3.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graft.cli.script_settings import Setting, checkpoint, one_of, path, run_script, share, whole_number

SETTINGS = {
    "checkpoint": Setting(checkpoint, "a checkpoint, or a file that export.py wrote", is_needed=True),
    "input": Setting(str, "a folder, a quoted pattern such as 'FOLDER/**/*.jpg', or a file", is_needed=True),
    "output": Setting(path, "the file to write: .csv, .jsonl or .parquet", Path("predictions.csv")),
    "top_k": Setting(whole_number(1), "how many classes are named, the most probable first", 1),
    "threshold": Setting(share, "below this probability the label is unsure", 0.0),
    "tta": Setting(one_of("flip"), "flip: average a picture and its mirror image"),
    "copy_to": Setting(path, "a new folder that pictures are copied to, sorted by label"),
    "batch_size": Setting(whole_number(1), "pictures that go through the network at once", 32),
}


def work(settings: dict[str, Any]) -> int:
    """Write the predictions; return 3 where pictures could not be read."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.prediction_run import write_predictions

    _, bad = write_predictions(**settings)
    return 3 if bad else 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", SETTINGS, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
