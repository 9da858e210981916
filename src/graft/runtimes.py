"""Loads a trained model for use: a checkpoint, or an exported file with the library that runs it."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from graft.checkpoints import LoadedClassifier, load_classifier
from graft.data.transforms import normalisation
from graft.inference import Model


def load_model(path: Path) -> Model:
    """Return the model in a checkpoint, or in a file that `graft.export` wrote.

    Raises UserError where the file is missing, damaged, no model of Graft's, or its library is missing.
    """
    return model_of(load_classifier(path.expanduser()))


def model_of(loaded: LoadedClassifier) -> Model:
    """Return the model that a checkpoint holds, on the GPU where there is one."""
    return Model(on_device(loaded), loaded.class_names, loaded.preprocessing, loaded.temperature)


def on_device(loaded: LoadedClassifier) -> Callable[[Tensor], Tensor]:
    """Return the network from uint8 pictures to logits, computed on the GPU where there is one."""
    device = best_device()
    classifier = loaded.classifier.to(device)
    normalise = normalisation(loaded.preprocessing)

    def network(pictures: Tensor) -> Tensor:
        logits: Tensor = classifier(normalise(pictures.to(device)))
        return logits.float().cpu()

    return network


def best_device() -> torch.device:
    """Return the device that a network is fastest on here."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
