# room: inference/export
"""Export a checkpoint: python scripts/export.py checkpoint=best.ckpt format=onnx

The file is verified on 32 real images against the checkpoint, then timed. Task and preprocessing are in its
metadata. The batch's size is free; the output are logits. onnx_int8 computes in 8-bit integers, calibrated on
the run's validation images, on which the task's first metric is measured.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, Names, run_script
from graft.errors import UserError
from graft.settings import PathText, Settings


class ExportSettings(Settings):
    """The settings of export.py."""

    checkpoint: Checkpoint = Field(description="the checkpoint, or a run's folder")
    format: Literal["onnx", "torch_export", "openvino", "onnx_int8"] = Field(
        "onnx", description="onnx, torch_export, openvino or onnx_int8"
    )
    include_preprocessing: bool = Field(
        False, description="true: takes uint8 RGB, scales and normalises itself"
    )
    input: PathText | None = Field(
        None, description="images to verify on, as for predict.py; else those of the run"
    )
    output: File | None = Field(None, description="the file to write; else beside the checkpoint")
    allow: Names = Field([], description="packages that the model may import, of networks or metrics")


def work(settings: dict[str, Any]) -> int:
    """Write, verify and time the file."""
    # Here, so that mistakes in the settings are told before torch loads.
    import torch

    from graft.inference.export.quantisation import quantise
    from graft.inference.export.writing import FORMATS, IMAGES, export
    from graft.memory import keep_freed_memory

    keep_freed_memory()
    os.environ.setdefault("GRAFT_ROOT", str(Path(__file__).resolve().parent.parent))
    checkpoint, chosen, output, allow = (settings[k] for k in ("checkpoint", "format", "output", "allow"))
    if chosen == "onnx_int8":
        if settings["include_preprocessing"] or settings["input"]:
            raise UserError("format=onnx_int8 takes neither include_preprocessing nor input.")
        file = output or checkpoint.with_name(f"{checkpoint.stem}-int8.onnx")
        done = quantise(checkpoint, file, allow=allow)
        measured = f"{done.figure} on {done.images} validation images {done.value:.4f}, "
        measured += f"{done.eager_value:.4f} by the checkpoint"
    else:
        file = output or checkpoint.with_suffix(FORMATS[chosen][0])
        done = export(checkpoint, chosen, file, settings["input"], settings["include_preprocessing"], allow)
        measured = f"largest {done.figure}, {done.images} images: {done.value:.1e}"
    sys.stdout.write(
        f"{done.file}\n{measured}\n"
        f"{done.speed:.0f} images per second, {done.eager_speed:.0f} by the checkpoint "
        f"(batches of {IMAGES}, CPU, {torch.get_num_threads()} threads)\n"
    )
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", ExportSettings, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
