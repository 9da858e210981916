# room: inference/export
"""Times a checkpoint, the checkpoint compiled, and its exported files, in turn, in one process."""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from graft.data.transforms import normalisation
from graft.inference.evaluation import evaluate, labelled_images
from graft.inference.export.writing import IMAGES, speeds
from graft.inference.model import Model
from graft.inference.runtimes import load_model
from graft.memory import keep_freed_memory
from graft.models.checkpoints import load_classifier


def compiled(checkpoint: Path) -> Callable[[Tensor], Tensor]:
    """Return the checkpoint's network, compiled."""
    loaded = load_classifier(checkpoint)
    network: Callable[[Tensor], Tensor] = torch.compile(loaded.classifier.eval())
    normalise = normalisation(loaded.preprocessing)
    return lambda images: network(normalise(images))


def main(checkpoint: Path, exported: Path, root: Path) -> None:
    """Print the speed and the validation accuracy of every way."""
    warnings.simplefilter("ignore")
    keep_freed_memory()
    eager = load_model(checkpoint)
    models: dict[str, Model] = {
        "checkpoint": eager,
        "checkpoint, compiled": replace(eager, network=compiled(checkpoint)),
        "ONNX Runtime": load_model(exported / "best.onnx"),
        "OpenVINO": load_model(exported / "best.xml"),
        "ONNX Runtime, int8": load_model(exported / "best-int8.onnx"),
    }
    source = {"_target_": "graft.data.sources.folder.Folder", "root": root}
    _, samples = labelled_images(source, eager.task, "val")
    accuracies = {
        name: evaluate(model, root, samples, IMAGES).metrics["accuracy"] for name, model in models.items()
    }
    found = dict(zip(models, speeds(list(models.values())), strict=True))
    sys.stdout.write(json.dumps({"speeds": found, "accuracies": accuracies}) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
