"""Stands in for what is elsewhere: torchvision's weights, and the repository."""

from pathlib import Path

import torch
from torchvision.models import get_model, get_model_weights

from tests.conftest import PROJECT

NETWORKS = ("resnet18",)


def write_stand_in_weights(torch_home: Path) -> None:
    folder = torch_home / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        file = folder / Path(get_model_weights(name).DEFAULT.url).name
        if not file.exists():
            torch.save(get_model(name, weights=None).state_dict(), file)


def with_this_checkout(text: str) -> str:
    """Return a block that clones this checkout."""
    return text.replace("URL-of-this-repository", str(PROJECT))
