"""Export a checkpoint: python scripts/export.py checkpoint=best.ckpt format=onnx

The file is verified on 32 real pictures against the checkpoint, then timed. Class names, preprocessing and
temperature are in its metadata. The batch's size is free; the output are logits.
"""

import os
import sys
from pathlib import Path
from typing import Any

from graft.script_settings import Setting, boolean, one_of, path, run_script

SETTINGS = {
    "checkpoint": Setting(path, "the checkpoint", is_needed=True),
    "format": Setting(one_of("onnx", "torch_export", "openvino"), "onnx, torch_export or openvino", "onnx"),
    "include_preprocessing": Setting(boolean, "true: takes uint8, scales and normalises itself", False),
    "input": Setting(str, "pictures to verify on, as for predict.py; else those of the run"),
    "output": Setting(path, "the file to write; else beside the checkpoint"),
}


def main(settings: dict[str, Any]) -> int:
    """Write, verify and time the file."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.export import write_export

    os.environ.setdefault("GRAFT_ROOT", str(Path(__file__).resolve().parent.parent))
    write_export(**settings)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(__doc__, SETTINGS, main))
