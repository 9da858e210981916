"""The evaluation preprocessing that a configuration of timm's describes."""

import math
from typing import Any

from graft.preprocessing import Preprocessing


def timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    """Return the preprocessing of what `timm.data.resolve_data_config` returns."""
    _, height, width = config["input_size"]
    if config["crop_mode"] == "squash":
        resize: tuple[int, ...] = tuple(math.floor(s / config["crop_pct"]) for s in (height, width))
    else:
        resize = (math.floor(min(height, width) / config["crop_pct"]),)
    return Preprocessing(
        resize=resize,
        crop=(height, width),
        interpolation=config["interpolation"],
        antialias=True,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
