"""Loads a trained model for use: a checkpoint, or an exported file with the library that runs it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.data.transforms import normalisation
from graft.errors import UserError, reason
from graft.inference.model import Model
from graft.models.checkpoints import LoadedClassifier, load_classifier
from graft.models.engines import onnxruntime, openvino
from graft.models.engines.run import Run
from graft.preprocessing import Preprocessing
from graft.tasks.task import task_from

TORCH_METADATA = "graft.json"  # torch.export keeps its own as files in an archive


def load_model(path: Path, allow: Sequence[str] = ()) -> Model:
    """Return the model in a checkpoint, or in a file that `scripts/export.py` wrote.

    `allow` names packages that the file may import besides Graft's own. Raises UserError where the file is
    missing, damaged or not a model of Graft's, or a library is missing.
    """
    path = path.expanduser()
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        return checkpoint_model(load_classifier(path, allow), best_device(), allow)
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    try:
        run, text = opener(path)
        metadata: dict[str, Any] = json.loads(text)
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        task = task_from(metadata["task"], allow)
    except UserError:
        raise
    except Exception as error:
        # Each library has errors of its own.
        told = f"{path} is damaged or was not written by scripts/export.py ({reason(error)})."
        raise UserError(told) from error
    if metadata["include_preprocessing"]:
        return Model(run, task, preprocessing)
    normalise = normalisation(preprocessing)
    return Model(lambda images: run(normalise(images)), task, preprocessing)


def checkpoint_model(loaded: LoadedClassifier, device: torch.device, allow: Sequence[str] = ()) -> Model:
    classifier = loaded.classifier.to(device)
    normalise = normalisation(loaded.preprocessing)

    def network(images: Tensor) -> Tensor:
        logits: Tensor = classifier(normalise(images.to(device)))
        return logits.float().cpu()

    return Model(network, task_from(loaded.task, allow), loaded.preprocessing)


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def open_torch_export(path: Path) -> tuple[Run, str]:
    files = {TORCH_METADATA: ""}
    program = torch.export.load(path, extra_files=files)
    run: Run = program.module()
    return run, files[TORCH_METADATA]


# Each returns what runs a file on the CPU, and the file's metadata.
OPENERS = {".onnx": onnxruntime.open_file, ".pt2": open_torch_export, ".xml": openvino.open_file}
