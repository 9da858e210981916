"""The backbone: a pretrained network without its classification layer."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graft.errors import UserError, suggestion
from graft.models.backbones.downloads import download
from graft.models.backbones.image_sizes import build_for_size
from graft.models.backbones.names import AUTO, LIBRARIES, source_of
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.removal import remove_classifier
from graft.models.backbones.weights import refuse_broken_numbers
from graft.models.backbones.weights_file import WeightsFile, existing_file, is_path, read_weights

log = logging.getLogger(__name__)

SOURCES = (*LIBRARIES, AUTO)
# These would change what goes in or comes out, which Graft decides.
RESERVED = ("num_classes", "in_chans", "features_only", "pretrained", "weights", "progress")
AUXILIARY_OPTION = "aux_logits"  # torchvision's, of networks with auxiliary classifiers
# How much an auxiliary classifier's loss counts: Szegedy 2014 (arXiv:1409.4842), section 5;
# for Inception v3 torchvision's training reference.
AUXILIARY_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}


def build_backbone(
    source: str,
    name: str,
    weights: str | None = "default",
    options: dict[str, Any] | None = None,
    weights_prefix: str | None = None,
    image_size: int | None = None,
) -> "Backbone":
    """Build a network of torchvision, timm or a package without its classification layer.

    `source` is `torchvision`, `timm`, `packaged`, or `auto` for the first of them that has the name.
    `weights` is `default`, an entry of the network's own list (`IMAGENET1K_V1`, a timm tag), the
    path or URL of a file, or None for random ones; `weights_prefix` chooses among several sets in
    one file. `options` go to the network's constructor. A network that is built for one size of
    images is built for `image_size`, in pixels, where it has an option for that.
    Raises UserError where one of them is unavailable or does not fit.
    """
    if source not in SOURCES:
        raise UserError(
            f"model.source={source}: there is no such source.{suggestion(str(source), SOURCES)} "
            f"Choices: {', '.join(SOURCES)}."
        )
    options = dict(options or {})
    if reserved := [key for key in options if key in RESERVED]:
        raise UserError(f"model.options.{reserved[0]} is set by Graft itself; leave it out.")
    source = source_of(name) if source == AUTO else source
    located = locate(weights, weights_prefix)
    if isinstance(located, WeightsFile):
        resized = LIBRARIES[source].size_option(name, image_size) if image_size else None
        own = options_of(located, source, name)
        options = {key: value for key, value in own.items() if key not in (resized or ())} | options
    backbone = Backbone(source, build_for_size(LIBRARIES[source], name, located, options, image_size))
    if weights is None:
        log.info("%s (%s) is built with random weights", backbone.name, source)
    else:
        refuse_broken_numbers(backbone, weights)
    return backbone


def rebuild_backbone(source: str, name: str, options: dict[str, Any]) -> "Backbone":
    """Build what `Backbone.spec` describes, for the weights of a checkpoint that are loaded next."""
    return Backbone(source, LIBRARIES[source].build(name, None, options))


def locate(weights: str | None, prefix: str | None) -> WeightsFile | str | None:
    """Return what the file of a path or URL holds; an entry's name and None stay as they are."""
    if weights is not None and (is_url(weights) or is_path(weights)):
        return read_weights(existing_file(download(weights) if is_url(weights) else Path(weights)), prefix)
    if prefix is not None:
        raise UserError(
            f"model.weights_prefix={prefix} chooses among the weights in a file, but "
            f"model.weights={'null' if weights is None else weights} names none; leave it out."
        )
    return weights


def is_url(weights: str) -> bool:
    """Return whether `model.weights` is an address."""
    return "://" in weights or weights.startswith("file:")


def options_of(file: WeightsFile, source: str, name: str) -> dict[str, Any]:
    """Return the options of the network that a checkpoint of Graft's holds, if it is the one asked for."""
    network = file.description["model"] if file.description else {}
    if (network.get("source"), network.get("name")) != (source, name):
        return {}
    return {key: value for key, value in network["options"].items() if key != AUXILIARY_OPTION}


class Backbone(nn.Module):
    """A network without its classification layer, with the preprocessing of its weights.

    GoogLeNet and Inception v3 have auxiliary classifiers: see `forward_with_auxiliary`.
    """

    def __init__(self, source: str, built: BuiltNetwork) -> None:
        super().__init__()
        self.source = source
        self.name = built.name
        self.weights = built.weights
        self.is_pretrained = built.is_pretrained
        self.preprocessing = built.preprocessing
        self.options = built.options
        self.network = built.network
        # Of SqueezeNet, the head is a convolution over `num_features` flattened maps.
        self.num_features, self.has_convolutional_head = remove_classifier(built)
        self.auxiliary = built.auxiliary
        self.auxiliary_weight = AUXILIARY_WEIGHTS.get(built.name, 0.0) if built.auxiliary else 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[B, num_features]` of normalised images `[B, 3, H, W]`.

        A convolutional network's are `[B, num_features * h * w]`, for its convolutional head.
        """
        return self.forward_with_auxiliary(images)[0]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features as `forward` does, and each auxiliary classifier's logits `[B, C]`.

        In training, the loss of each counts `auxiliary_weight` times beside the head's loss. The
        list is empty in evaluation, while the whole backbone is held frozen, and for all other
        networks. `build_head` gives them their number of classes.
        """
        output = self.network(images)
        if isinstance(output, tuple):
            features, *logits = output
            return features, logits
        return output, []

    def set_auxiliary_classes(self, num_classes: int) -> None:
        """Give every auxiliary classifier a new last layer."""
        for name in self.auxiliary:
            old = self.network.get_submodule(name)
            assert isinstance(old, nn.Linear)
            new = nn.Linear(old.in_features, num_classes, device=old.weight.device)
            self.network.set_submodule(name, new)

    def remove_auxiliary_heads(self) -> None:
        """Remove the auxiliary classifiers, which a backbone that stays frozen never uses."""
        for name in self.auxiliary:
            setattr(self.network, name.split(".")[0], None)
            setattr(self.network, AUXILIARY_OPTION, False)
        self.auxiliary, self.auxiliary_weight = (), 0.0

    def spec(self) -> dict[str, Any]:
        """Return plain values with which `rebuild_backbone(**spec)` rebuilds this without its weights."""
        options = dict(self.options)
        if hasattr(self.network, AUXILIARY_OPTION) and self.source == "torchvision":
            options[AUXILIARY_OPTION] = bool(self.auxiliary)
        return {"source": self.source, "name": self.name, "options": options}
