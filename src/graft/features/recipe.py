"""How features are computed: everything but the image that could change their numbers."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from torch import nn

from graft.models.backbones import Backbone
from graft.preprocessing import Preprocessing

PACKAGES = ("torch", "torchvision", "timm", "pillow")
# The project's own code between a file and its features: a change of it computes them anew.
SOURCES = (
    "models/backbones/**/*.py",
    "data/decoded.py",
    "data/images.py",
    "data/own_transforms.py",
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
    network = backbone.spec()
    return {
        "network": network,
        "weights": backbone.weights,
        "tensors": tensors_digest(backbone),
        "preprocessing": preprocessing.to_dict(),
        "dtype": dtype,
        "precision": precision,
        "device": device.type,
        "versions": {package: version(package) for package in PACKAGES},
        "code": code_digest(Path(__file__).parents[1]),
        "own_code": own_code(network),
    }


def recipe_digest(recipe: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=16).hexdigest()


def code_digest(project: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(file for pattern in SOURCES for file in project.glob(pattern)):
        digest.update(file.relative_to(project).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def own_code(settings: Any) -> dict[str, str]:
    """Return a hash of the file of each class or function that a `_target_` anywhere in settings names.

    Those of `PACKAGES` are left out: their versions are known.
    """
    named = {target for target in targets(settings) if target.partition(".")[0] not in PACKAGES}
    return {
        target: hashlib.blake2b(source_of(get_object(target)), digest_size=16).hexdigest()
        for target in sorted(named)
    }


def targets(settings: Any) -> Iterator[str]:
    """Yield every `_target_` in nested containers."""
    if isinstance(settings, Mapping):
        if isinstance(target := settings.get("_target_"), str):
            yield target
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        for value in settings:
            yield from targets(value)


def source_of(found: Any) -> bytes:
    """Return the file that defines a class or function; nothing where it is compiled or was typed."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(found))
    except (TypeError, OSError):
        return b""
    return Path(file).read_bytes() if file else b""


def tensors_digest(module: nn.Module) -> str:
    """Return a hash of all parameters and buffers, saved or not, with their names and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    tensors = {**module.state_dict(), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
