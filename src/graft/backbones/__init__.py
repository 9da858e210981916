"""Pretrained networks without their last layer: one file a source, and one for new heads."""

from collections.abc import Callable
from typing import Any

from graft.backbones import packaged, timm, torchvision
from graft.backbones.backbone import Backbone
from graft.backbones.heads import build_head
from graft.errors import UserError, suggestion

SOURCES: dict[str, Callable[[str, str | None, dict[str, Any]], Backbone]] = {
    "packaged": packaged.build,
    "timm": timm.build,
    "torchvision": torchvision.build,
}


def build_backbone(
    source: str, name: str, weights: str | None = "default", options: dict[str, Any] | None = None
) -> Backbone:
    """Return a network without its classification layer, with its weights and their preprocessing.

    `weights` is `default`, a name that the source knows, a file, a URL, or None for random ones;
    `options` go to the network's constructor. Raises UserError where one of these does not fit or
    weights cannot be had: never random weights instead.
    """
    if source not in SOURCES:
        raise UserError(
            f"model.source={source} is none of {', '.join(SOURCES)}.{suggestion(source, SOURCES)}"
        )
    return SOURCES[source](name, weights, dict(options or {}))


__all__ = ["Backbone", "build_backbone", "build_head"]
