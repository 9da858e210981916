"""The backbone: a pretrained network without its classification layer."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graft.errors import UserError, suggestion
from graft.models.backbones import packaged, timm, torchvision
from graft.models.backbones.downloads import download
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.removal import remove_classifier
from graft.models.backbones.weights import existing_file, is_path, refuse_broken_numbers

log = logging.getLogger(__name__)

SOURCES = {"torchvision": torchvision, "timm": timm, "packaged": packaged}
# These would change what goes in or comes out, which Graft decides.
RESERVED = ("num_classes", "in_chans", "features_only", "pretrained", "weights", "progress")
# How much an auxiliary classifier's loss counts: Szegedy 2014 (arXiv:1409.4842), section 5;
# for Inception v3 torchvision's training reference.
AUXILIARY_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}


def build_backbone(
    source: str,
    name: str,
    weights: str | None = "default",
    options: dict[str, Any] | None = None,
) -> "Backbone":
    """Build a network of `torchvision`, `timm` or `packaged` without its classification layer.

    `weights` is `default`, an entry of the network's own list (`IMAGENET1K_V1`, a timm tag), the
    path or URL of a file, or None for random ones; `options` go to the network's constructor.
    Raises UserError where one of them is not to be had or does not fit.
    """
    if source not in SOURCES:
        raise UserError(
            f"model.source={source}: there is no such source.{suggestion(str(source), SOURCES)} "
            f"Choices: {', '.join(SOURCES)}."
        )
    options = dict(options or {})
    if reserved := [key for key in options if key in RESERVED]:
        raise UserError(f"model.options.{reserved[0]} is set by Graft itself; leave it out.")
    backbone = Backbone(source, SOURCES[source].build(name, located(weights), options))
    if weights is None:
        log.info("%s (%s) is built with random weights", backbone.name, source)
    else:
        refuse_broken_numbers(backbone, weights)
    return backbone


def rebuild_backbone(source: str, name: str, options: dict[str, Any]) -> "Backbone":
    """Build what `Backbone.spec` describes, for the weights of a checkpoint that are loaded next."""
    return Backbone(source, SOURCES[source].build(name, None, options))


def located(weights: str | None) -> str | Path | None:
    """Return the file of a path or URL; an entry's name and None stay as they are."""
    if weights is None:
        return None
    if "://" in weights or weights.startswith("file:"):
        return existing_file(download(weights))
    return existing_file(Path(weights)) if is_path(weights) else weights


class Backbone(nn.Module):
    """A network without its classification layer, with the preprocessing of its weights.

    GoogLeNet and Inception v3 have auxiliary classifiers: see `forward_with_auxiliary`.
    """

    def __init__(self, source: str, built: BuiltNetwork) -> None:
        super().__init__()
        self.source = source
        self.name = built.name
        self.weights = built.weights
        self.preprocessing = built.preprocessing
        self.options = built.options
        self.network = built.network
        # Of SqueezeNet, the head is a convolution over `num_features` flattened maps.
        self.num_features, self.has_convolutional_head = remove_classifier(built)
        self.auxiliary = built.auxiliary
        self.auxiliary_weight = AUXILIARY_WEIGHTS.get(built.name, 0.0) if built.auxiliary else 0.0

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features `[B, num_features]` of normalised pictures `[B, 3, H, W]`.

        A convolutional network's are `[B, num_features * h * w]`, for its convolutional head.
        """
        return self.forward_with_auxiliary(pictures)[0]

    def forward_with_auxiliary(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features as `forward` does, and each auxiliary classifier's logits `[B, C]`.

        In training, the loss of each counts `auxiliary_weight` times beside the head's loss. The
        list is empty in evaluation, while the whole backbone is held frozen, and for all other
        networks. `build_head` gives them their number of classes.
        """
        output = self.network(pictures)
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
            setattr(self.network, "aux_logits", False)  # noqa: B010 -- a flag, no module
        self.auxiliary, self.auxiliary_weight = (), 0.0

    def spec(self) -> dict[str, Any]:
        """Return plain values with which `rebuild_backbone(**spec)` rebuilds this without its weights."""
        options = dict(self.options)
        if hasattr(self.network, "aux_logits") and self.source == "torchvision":
            options["aux_logits"] = bool(self.auxiliary)
        return {"source": self.source, "name": self.name, "options": options}
