"""Networks and weights of torchvision."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

from graft.backbones.backbone import Backbone
from graft.backbones.heads import find_classification_layer, remove_classification_layer
from graft.backbones.weights import UNREADABLE, failed_download, fit_weights, is_file_or_url, read_weights
from graft.errors import UserError, suggestion
from graft.preprocessing import Preprocessing

AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")  # GoogLeNet's and Inception's second classifiers


def build(name: str, weights: str | None, options: dict[str, Any]) -> Backbone:
    """Return a torchvision network without its classification layer; see `build_backbone`."""
    names = list_models(module=torchvision.models)
    if name not in names:
        raise UserError(f"model.name={name} is no network of torchvision.{suggestion(name, names)}")
    enum = get_model_weights(name)
    by_file = weights is not None and is_file_or_url(weights)
    chosen = None if weights is None or by_file else choose(enum, name, weights)
    if hasattr(enum, "DEFAULT") and (chosen or by_file) and takes_transform_input(name):
        # These weights expect inputs scaled as their first authors did; a rebuilt network has to do it too.
        options = {"transform_input": True, **options}
    network = construct(name, chosen, options)
    num_classes = len((chosen or enum.DEFAULT).meta["categories"])
    remove_auxiliary_heads(network)
    head = find_classification_layer(network, num_classes)
    if by_file:
        assert weights is not None
        found = read_weights(weights)
        kept = {k: v for k, v in found.items() if k.split(".")[0] not in AUXILIARY_HEADS}
        fit_weights(network, kept, head, weights)
    layer = remove_classification_layer(network, head)
    is_convolution = isinstance(layer, nn.Conv2d)
    return Backbone(
        network,
        num_features=layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features,
        preprocessing=preprocessing_of(chosen or enum.DEFAULT),
        source="torchvision",
        name=name,
        weights=f"{chosen.name} of torchvision" if chosen else f"file {weights}" if by_file else "random",
        options=options,
        has_convolutional_head=is_convolution,
    )


def choose(enum: type[WeightsEnum], name: str, weights: str) -> WeightsEnum:
    """Return the member of the network's weights that `model.weights` names."""
    choices = {member.name: member for member in enum}
    if weights.lower() == "default":
        return enum.DEFAULT
    if weights not in choices:
        raise UserError(
            f"model.weights={weights} is none of {name}'s: {', '.join(choices)}."
            f"{suggestion(weights, choices)} (Or default, a file, a URL, null.)"
        )
    return choices[weights]


def construct(name: str, weights: WeightsEnum | None, options: dict[str, Any]) -> nn.Module:
    """Build the whole network, its weights downloaded to torch's cache folder when they are not there."""
    if takes_transform_input(name):
        options = {"init_weights": weights is None, **options}
    try:
        network: nn.Module = get_model(name, weights=weights, progress=sys.stderr.isatty(), **options)
    except TypeError as error:
        raise UserError(f"model.options={options} do not fit {name}: {error}.") from error
    except UNREADABLE as error:
        if weights is None:
            raise
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
        if path.exists():
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}): delete it.") from error
        raise failed_download(weights.url, str(error), path) from error
    return network


def takes_transform_input(name: str) -> bool:
    """Return whether the network has GoogLeNet's constructor: own input scaling, auxiliary heads."""
    return name in ("googlenet", "inception_v3")


def remove_auxiliary_heads(network: nn.Module) -> None:
    """Take GoogLeNet's and Inception's second classifiers away, so that logits are never a tuple."""
    if hasattr(network, "aux_logits"):
        network.aux_logits = False  # type: ignore[assignment]
        for name in AUXILIARY_HEADS:
            if hasattr(network, name):
                setattr(network, name, None)


def preprocessing_of(weights: WeightsEnum) -> Preprocessing:
    """Return the evaluation preprocessing that the weights carry."""
    transforms = weights.transforms()
    crop = list(transforms.crop_size)
    return Preprocessing(
        resize=tuple(transforms.resize_size),
        crop=(crop[0], crop[-1]),
        interpolation=transforms.interpolation.value,
        antialias=transforms.antialias is not False,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
