"""torchvision's classification networks, with the weights and preprocessing of its weights enums."""

import inspect
import re
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any

import torchvision
from torch import nn
from torchvision.models import (
    VisionTransformer,
    WeightsEnum,
    get_model,
    get_model_builder,
    get_model_weights,
    list_models,
)
from torchvision.models.vision_transformer import interpolate_embeddings

from graft.errors import UserError, reason
from graft.models.backbones.downloads import download
from graft.models.backbones.network import BuiltNetwork, remove_linear_layer, unknown_name, unknown_weights
from graft.models.backbones.weights import load_file
from graft.models.backbones.weights_file import WeightsFile, read_weights
from graft.preprocessing import Preprocessing

NUM_CLASSES = 1000  # of every classification network in torchvision
POSITIONS = "encoder.pos_embedding"  # of a ViT
AUXILIARY = ("aux1", "aux2", "AuxLogits")  # of GoogLeNet and Inception v3
# How much an auxiliary classifier's loss counts: Szegedy 2014 (arXiv:1409.4842), section 5;
# for Inception v3 torchvision's training reference.
AUXILIARY_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}
# What constructors raise for options that do not fit.
MISFITS = (TypeError, ValueError, RuntimeError, LookupError, AssertionError, AttributeError, ArithmeticError)


def names() -> list[str]:
    return list_models(module=torchvision.models)


def entries() -> Iterator[dict[str, Any]]:
    for name in names():
        for weights in get_model_weights(name):
            yield {
                "name": name,
                "weights": weights.name,
                "pixels": preprocessing(weights).crop[0],
                "parameters": weights.meta["num_params"],
                "accuracy": weights.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1"),
            }


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build a network with weights of its enum (`default` or a name), a file's, or random ones."""
    if name not in names():
        raise unknown_name(name, "torchvision", names())
    entry = choose_weights(name, weights) if isinstance(weights, str) else None
    file = read_weights(download(entry.url)) if entry else weights
    network = construct(name, entry, options, is_loaded=file is not None)
    *auxiliary, classifier = classification_layers(network)
    # What torchvision's builders themselves set for some weights.
    from_weights = {k: getattr(network, k) for k in ("transform_input", "image_size") if hasattr(network, k)}
    default: WeightsEnum = get_model_weights(name).DEFAULT
    built = BuiltNetwork(
        network=network,
        name=name,
        options=options | from_weights,
        weights="random",
        preprocessing=preprocessing(entry or default, from_weights.get("image_size") or size_of(options)),
        remove_classifier=remove_classifier,
        classifiers=(classifier,),
        mixes_channels=from_weights.get("transform_input", False),
        has_convolutional_head=isinstance(network.get_submodule(classifier), nn.Conv2d),
        auxiliary=tuple(auxiliary),
        auxiliary_weight=AUXILIARY_WEIGHTS[name] if auxiliary else 0.0,
        remove_auxiliary=remove_auxiliary if auxiliary else None,
    )
    if isinstance(file, WeightsFile):
        built = load_file(built, understood(network, file))
    return replace(built, weights=f"{entry.name} (torchvision)") if entry else built


def size_option(name: str, size: int) -> dict[str, Any] | None:
    accepted = arguments_of(name)
    if "image_size" in accepted:
        return {"image_size": size}
    return {"input_size": [size, size]} if "input_size" in accepted else None


def arguments_of(name: str) -> Collection[str]:
    network_class = inspect.signature(get_model_builder(name)).return_annotation
    return inspect.signature(network_class).parameters


def size_of(options: dict[str, Any]) -> int | None:
    size = options.get("image_size") or options.get("input_size")
    return size[0] if isinstance(size, list | tuple) else size


def choose_weights(name: str, weights: str) -> WeightsEnum:
    choices = get_model_weights(name)
    if weights != "default" and weights not in choices.__members__:
        raise unknown_weights(name, weights, list(choices.__members__))
    entry: WeightsEnum = choices["DEFAULT" if weights == "default" else weights]
    return entry


def construct(name: str, entry: WeightsEnum | None, options: dict[str, Any], is_loaded: bool) -> nn.Module:
    """Return the network without weights, as torchvision's own builder makes it where weights are loaded."""
    arguments = {"aux_logits": True, "init_weights": not is_loaded, "transform_input": is_loaded}
    if entry:
        arguments["image_size"] = entry.meta["min_size"][0]
    arguments = {key: value for key, value in arguments.items() if key in arguments_of(name)}
    try:
        return get_model(name, weights=None, **(arguments | options))
    except MISFITS as error:
        raise UserError(
            f"model.options={options} does not fit {name} of torchvision: {reason(error)}."
        ) from error


def classification_layers(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that give logits; torchvision registers the network's own last."""
    return tuple(
        name
        for name, layer in network.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == NUM_CLASSES)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == NUM_CLASSES)
    )


def remove_classifier(built: BuiltNetwork) -> tuple[nn.Module, int]:
    network, (name,) = built.network, built.classifiers
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Conv2d):
        return remove_linear_layer(built)
    # What follows a convolution into classes (ReLU, pooling) works on logits and goes with it.
    parent, _, index = name.rpartition(".")
    for position in range(int(index), len(network.get_submodule(parent))):  # type: ignore[arg-type]
        network.set_submodule(f"{parent}.{position}", nn.Identity())
    return network, layer.in_channels


def remove_auxiliary(network: nn.Module) -> None:
    for name in AUXILIARY:
        if hasattr(network, name):
            setattr(network, name, None)
    network.aux_logits = False  # type: ignore[assignment]


def understood(network: nn.Module, file: WeightsFile) -> WeightsFile:
    """Return the file with the names and shapes of the network.

    torchvision's DenseNet files are older than its names: `norm.1.weight` is `norm1.weight`. The positions of
    a ViT are interpolated, and auxiliary classifiers that the network does not have are left out.
    """
    has_auxiliary = getattr(network, "aux_logits", True)
    states = {key: copy(state) for key, state in file.state_dicts.items()}
    for state in states.values():
        for key in list(state):
            if not has_auxiliary and not set(key.split(".")).isdisjoint(AUXILIARY):
                del state[key]
            elif re.search(r"denselayer\d+\.(norm|conv)\.[12]\.", key):
                state[re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key)] = state.pop(key)
            elif isinstance(network, VisionTransformer) and key.endswith(POSITIONS):
                # Positions of another network cannot be interpolated: `load_file` names it.
                with suppress(ValueError, RuntimeError):
                    own = OrderedDict({POSITIONS: state[key]})
                    resized = interpolate_embeddings(network.image_size, network.patch_size, own)
                    state[key] = resized[POSITIONS]
    return replace(file, state_dicts=states)


def preprocessing(entry: WeightsEnum, image_size: int | None = None) -> Preprocessing:
    """Return the weights' own evaluation preprocessing, scaled if the network wants another size."""
    transforms = entry.transforms()
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    if image_size:
        crop, resize = image_size, resize * image_size // crop
    return Preprocessing(
        resize=(resize,),
        crop=(crop, crop),
        interpolation=transforms.interpolation.value,
        antialias=bool(transforms.antialias),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
