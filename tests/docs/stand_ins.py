"""Stands in for what lies elsewhere: torchvision's weights, and the repository."""

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


def address_of_this_checkout() -> dict[str, str]:
    """Return the environment in which `git clone https://ADDRESS` clones this checkout."""
    key = f"url.{PROJECT}.insteadOf"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": "https://ADDRESS"}
