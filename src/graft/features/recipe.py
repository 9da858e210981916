"""How features come about: everything that could change their numbers, apart from the image."""

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import graft
from graft.features.boundary import Cut
from graft.models.backbones import Backbone
from graft.models.backbones.network import is_below
from graft.preprocessing import Preprocessing

PACKAGES = ("torch", "torchvision", "timm", "pillow")
# The project's own code between a file and its features: who changes it must not get what it gave before.
SOURCES = (
    "models/backbones/*.py",
    "data/decoded.py",
    "data/images.py",
    "data/transforms.py",
    "features/folding.py",
    "models/classifier.py",
    "preprocessing.py",
)


# Of activations within the network, also how it was cut.
SOURCES_OF_CUTS = (*SOURCES, "features/boundary.py")


def recipe(
    backbone: Backbone,
    cut: Cut,
    preprocessing: Preprocessing,
    dtype: str,
    precision: str,
    device: torch.device,
) -> dict[str, Any]:
    """Return how the features, or the activations at the cut, of any image come about, as plain values."""
    is_inside = cut.before is not None
    return {
        **({"before": cut.before, "parts": list(cut.parts)} if is_inside else {}),
        "network": backbone.spec(),
        "weights": backbone.weights,
        "tensors": tensors_digest(backbone, cut.parts) if is_inside else tensors_digest(backbone),
        "preprocessing": preprocessing.to_dict(),
        "dtype": dtype,
        "precision": precision,
        "device": device.type,
        "versions": {package: version(package) for package in PACKAGES},
        "code": code_digest(Path(graft.__file__).parent, SOURCES_OF_CUTS if is_inside else SOURCES),
    }


def recipe_digest(recipe: dict[str, Any]) -> str:
    """Return a name for the recipe: 32 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=16).hexdigest()


def code_digest(project: Path, sources: tuple[str, ...] = SOURCES) -> str:
    """Return a hash of the source files that features depend on."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(file for pattern in sources for file in project.glob(pattern)):
        found.update(file.relative_to(project).as_posix().encode() + file.read_bytes())
    return found.hexdigest()


def tensors_digest(module: nn.Module, parts: tuple[str, ...] = ()) -> str:
    """Return a hash of all parameters and buffers, names and shapes included.

    With `parts`, only of those in these submodules, and of the own ones of the modules around them.
    """
    around = {part[: dot.start()] for part in parts for dot in re.finditer(r"\.", part)}
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        if parts and not is_below(name, parts) and name.rpartition(".")[0] not in around:
            continue
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
