"""Show where a network looks: python scripts/explain.py checkpoint=best.ckpt input=FOLDER

Writes each picture as PNG with a Grad-CAM heat map of its label, red where the network sees it. One that
cannot be read is named, and the exit code is 3.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graft.cli.script_settings import Setting, checkpoint, path, run_script

SETTINGS = {
    "checkpoint": Setting(checkpoint, "a checkpoint of a convolutional network", is_needed=True),
    "input": Setting(str, "a folder, a quoted pattern such as 'FOLDER/**/*.jpg', or a file", is_needed=True),
    "output": Setting(path, "the folder to write to", Path("explanations")),
}


def work(settings: dict[str, Any]) -> int:
    """Write the overlays; return 3 where pictures could not be read."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.explanation import write_explanations

    return 3 if write_explanations(**settings) else 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", SETTINGS, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
