"""Builds the transforms that a person adds as `augmentation.transforms`."""

from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate

from graft.errors import UserError, reason
from graft.preprocessing import Preprocessing


def build_own(name: str, settings: Mapping[str, Any], preprocessing: Preprocessing) -> torch.nn.Module:
    """Return the module of an entry of `augmentation.transforms`, tried out on a black image."""
    key, problem = f"augmentation.transforms.{name}", "cannot be built"
    black = torch.zeros(preprocessing.channels, *preprocessing.crop)
    try:
        module: torch.nn.Module = instantiate(settings, _convert_="all")
        problem = f"does not take images of {preprocessing.channels} channels"
        with torch.random.fork_rng(devices=[]):
            shape = module(black).shape
    except Exception as error:
        raise UserError(f"{key} {problem} ({reason(error)}).") from error
    if shape != black.shape:
        raise UserError(f"{key} changes the shape of an image from {list(black.shape)} to {list(shape)}.")
    return module
