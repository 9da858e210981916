"""How features are computed: everything but the image that could change their numbers."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graft.models.backbones import Backbone
from graft.preprocessing import Preprocessing

PACKAGES = ("torch", "torchvision", "timm", "pillow")
# The project's own code between a file and its features: a change of it computes them anew.
SOURCES = (
    "models/backbones/**/*.py",
    "data/decoded.py",
    "data/images.py",
    "data/resizing.py",
    "data/transforms.py",
    "models/classifier.py",
    "models/engines/*.py",
    "models/folding.py",
    "preprocessing.py",
)


def recipe(
    backbone: Backbone, preprocessing: Preprocessing, dtype: str, precision: str, device: torch.device
) -> dict[str, Any]:
    return {
        "network": backbone.spec(),
        "weights": backbone.weights,
        "tensors": tensors_digest(backbone),
        "preprocessing": preprocessing.to_dict(),
        "dtype": dtype,
        "precision": precision,
        "device": device.type,
        "versions": {package: version(package) for package in PACKAGES},
        "code": code_digest(Path(__file__).parents[1]),
    }


def recipe_digest(recipe: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=16).hexdigest()


def code_digest(project: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(file for pattern in SOURCES for file in project.glob(pattern)):
        digest.update(file.relative_to(project).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def tensors_digest(module: nn.Module) -> str:
    """Return a hash of all parameters and buffers, names and shapes included."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
