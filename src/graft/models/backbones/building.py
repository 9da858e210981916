"""Builds a backbone for training, and again for a checkpoint."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from graft.errors import UserError, import_allowed
from graft.models.backbones.backbone import Backbone
from graft.models.backbones.channels import with_channels
from graft.models.backbones.downloads import download
from graft.models.backbones.image_sizes import build_for_size
from graft.models.backbones.names import library_of, source_of
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.several_stages import backbone_of
from graft.models.backbones.weights import refuse_broken_numbers
from graft.models.backbones.weights_file import WeightsFile, existing_file, is_path, read_weights
from graft.models.settings import AUTO

log = logging.getLogger(__name__)

# These would change what goes in or comes out, which Graft decides.
RESERVED = ("num_classes", "in_chans", "features_only", "pretrained", "weights", "progress")


def build_backbone(
    source: str,
    name: str,
    weights: str | None = "default",
    options: dict[str, Any] | None = None,
    weights_prefix: str | None = None,
    stages: int = 1,
    image_size: int | None = None,
    channels: int = 3,
    _target_: str | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Backbone:
    """Build a network without its classification layer, as `configs/model/*.yaml` describe it.

    `weights` is `default`, an entry of the network's own list (`IMAGENET1K_V1`, a timm tag), the path or URL
    of a file, or None for random ones. The features are those of the last `stages` stages. `image_size`, in
    pixels, and `channels` are those of the images.
    Raises UserError where something is unavailable or does not fit.
    """
    options = dict(options or {})
    library = library_of(source := source_of(name) if source == AUTO else source)
    if _target_ is not None:
        options = {"_target_": _target_, "arguments": options, "preprocessing": preprocessing}
    elif reserved := [key for key in options if key in RESERVED]:
        raise UserError(f"model.options.{reserved[0]} is set by Graft itself; leave it out.")
    located = locate(weights, weights_prefix)
    if isinstance(located, WeightsFile):
        resized = (library.size_option(name, image_size) if image_size else None) or {}
        own = options_of(located, source, name)
        options = {key: value for key, value in own.items() if key not in resized} | options

    def build(weights: WeightsFile | str | None, options: dict[str, Any]) -> BuiltNetwork:
        return with_channels(library.build(name, weights, options), channels)

    size_option = partial(library.size_option, name)
    backbone = backbone_of(source, build_for_size(build, size_option, located, options, image_size), stages)
    if weights is None:
        log.info("%s (%s) is built with %s weights", backbone.name, source, backbone.weights)
    else:
        refuse_broken_numbers(backbone, weights)
    return backbone


def rebuild_backbone(
    source: str,
    name: str,
    options: dict[str, Any],
    channels: int = 3,
    auxiliary: bool = True,
    stages: int = 1,
    allow: Sequence[str] = (),
) -> Backbone:
    """Build what `Backbone.spec` describes, for the weights of a checkpoint that are loaded next.

    `allow` are the packages, besides Graft's own, that the network may come from; UserError for others.
    """
    if "_target_" in options:
        refuse_code(options["_target_"], allow)
    built = with_channels(library_of(source).build(name, None, options), channels)
    backbone = backbone_of(source, built, stages)
    if not auxiliary:
        backbone.remove_auxiliary_heads()
    return backbone


def refuse_code(target: str, allow: Sequence[str]) -> None:
    """Raise a UserError for what a checkpoint must not call: another package's code, or torch.hub.load."""
    found, package = import_allowed(target, allow), target.partition(".")[0]
    is_network = isinstance(found, type) and issubclass(found, nn.Module)
    if package not in allow and not is_network:
        raise UserError(
            f"the checkpoint names {target}, which is no torch.nn.Module and is not called without "
            f"permission: write allow=[{package}] if you trust it."
        )


def locate(weights: str | None, prefix: str | None) -> WeightsFile | str | None:
    """Return what the file of a path or URL holds; an entry's name and None stay as they are."""
    is_url = weights is not None and ("://" in weights or weights.startswith("file:"))
    if weights is not None and (is_url or is_path(weights)):
        return read_weights(existing_file(download(weights) if is_url else Path(weights)), prefix)
    if prefix is not None:
        raise UserError(
            f"model.weights_prefix={prefix} chooses among the weights in a file, but "
            f"model.weights={'null' if weights is None else weights} names none; leave it out."
        )
    return weights


def options_of(file: WeightsFile, source: str, name: str) -> dict[str, Any]:
    """Return the options of the network that a checkpoint of Graft's holds, if it is the one asked for."""
    network = file.description["model"] if file.description else {}
    is_asked_for = (network.get("source"), network.get("name")) == (source, name)
    return dict(network["options"]) if is_asked_for else {}
