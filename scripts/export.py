"""Export a checkpoint: python scripts/export.py checkpoint=best.ckpt format=onnx

The file is verified on 32 real images against the checkpoint, then timed. Class names, preprocessing and
temperature are in its metadata. The batch's size is free; the output are logits. onnx_int8 computes in 8-bit
integers, calibrated on the run's validation images, on which its accuracy is measured.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, run_script
from graft.errors import UserError
from graft.settings import PathText, Settings


class ExportSettings(Settings):
    """The settings of export.py."""

    checkpoint: Checkpoint = Field(description="the checkpoint, or a run's folder")
    format: Literal["onnx", "torch_export", "openvino", "onnx_int8"] = Field(
        "onnx", description="onnx, torch_export, openvino or onnx_int8"
    )
    include_preprocessing: bool = Field(False, description="true: takes uint8, scales and normalises itself")
    input: PathText | None = Field(
        None, description="images to verify on, as for predict.py; else those of the run"
    )
    output: File | None = Field(None, description="the file to write; else beside the checkpoint")


def work(settings: dict[str, Any]) -> int:
    """Write, verify and time the file."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.export.quantisation import write_int8
    from graft.inference.export.writing import write_export

    os.environ.setdefault("GRAFT_ROOT", str(Path(__file__).resolve().parent.parent))
    if settings["format"] == "onnx_int8":
        if settings["include_preprocessing"] or settings["input"]:
            raise UserError("format=onnx_int8 takes neither include_preprocessing nor input.")
        write_int8(settings["checkpoint"], settings["output"])
    else:
        write_export(**settings)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", ExportSettings, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
