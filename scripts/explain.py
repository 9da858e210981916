"""Show where a network looks: python scripts/explain.py checkpoint=best.ckpt input=FOLDER

Writes each image as PNG with a Grad-CAM heat map of its label, red where the network sees it. One that
cannot be read is named, and the exit code is 3.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, run_script
from graft.settings import PathText, Settings


class ExplainSettings(Settings):
    """The settings of explain.py."""

    checkpoint: Checkpoint = Field(description="a checkpoint of a convolutional network, or a run's folder")
    input: PathText = Field(description="a folder, a quoted pattern such as 'FOLDER/**/*.jpg', or a file")
    output: File = Field(Path("explanations"), description="the folder to write to")


def work(settings: dict[str, Any]) -> int:
    """Write the overlays; return 3 where images could not be read."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.explanation import write_explanations

    return 3 if write_explanations(**settings) else 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", ExplainSettings, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
