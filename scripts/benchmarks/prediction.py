"""Prediction: images per second of a trained network, by what runs it."""

import shutil
from pathlib import Path

from benchmarks.frozen import graft
from benchmarks.measuring import run, table


def measure(root: Path, work: Path) -> str:
    """Return the section: batches of 32 crops in memory, all ways in turn in one process."""
    graft(root, work, "trainer.max_epochs=5", "augmentation=none")
    checkpoint = work / "run" / "checkpoints" / "best.ckpt"
    shutil.rmtree(work / "exported", ignore_errors=True)
    (work / "exported").mkdir()
    for name, ending in (("onnx", ".onnx"), ("openvino", ".xml"), ("onnx_int8", "-int8.onnx")):
        output = work / "exported" / f"best{ending}"
        run(["scripts/export.py", f"checkpoint={checkpoint}", f"format={name}", f"output={output}"])
    result = run(["scripts/benchmarks/ways/predict.py", str(checkpoint), str(work / "exported"), str(root)])
    speeds, accuracies = result.result["speeds"], result.result["accuracies"]
    rows = [
        [name, f"{speed:.0f}", f"{speed / speeds['checkpoint']:.2f}", f"{accuracies[name]:.4f}"]
        for name, speed in speeds.items()
    ]
    return table(["run by", "images per second", "this / checkpoint", "validation accuracy"], rows)
