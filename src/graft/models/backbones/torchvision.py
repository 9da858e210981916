"""torchvision's classification networks, with the weights and preprocessing of its weights enums."""

import inspect
import logging
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Collection
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

from graft.errors import UserError, suggestion
from graft.models.backbones.downloads import download, reason
from graft.models.backbones.network import BuiltNetwork, classification_layers
from graft.models.backbones.weights import load_file, loaded_from, refuse_difference
from graft.models.backbones.weights_file import DAMAGED, WeightsFile, damaged, read_weights
from graft.preprocessing import Preprocessing

log = logging.getLogger(__name__)

NUM_CLASSES = 1000  # of every classification network in torchvision
POSITIONS = "encoder.pos_embedding"  # of a ViT


def names() -> list[str]:
    """Return the names of all classification networks."""
    return list_models(module=torchvision.models)


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build a network with weights of its enum (`default` or a name), a file's, or random ones.

    Raises UserError for unknown weights, options that do not fit, a file that does not fit or
    is damaged, and a failed download.
    """
    if name not in names():
        raise UserError(
            f"model.name={name}: torchvision has no such network.{suggestion(name, names())} "
            "python scripts/models.py lists all."
        )
    accepted = arguments_of(name)
    entry = choose_weights(name, weights) if isinstance(weights, str) else None
    file = weights if isinstance(weights, WeightsFile) else None
    if entry and size_of(options) not in (None, entry.meta["min_size"][0]):
        # torchvision's builders load weights at their own size only.
        file = read_weights(download(entry.url))
    arguments = dict(options)
    if "aux_logits" in accepted:
        arguments.setdefault("aux_logits", True)
    if "transform_input" in accepted and file:
        arguments.setdefault("transform_input", True)  # as the library does for its own file
    if "init_weights" in accepted and file:
        arguments.setdefault("init_weights", False)
    elif "init_weights" in accepted and entry is None:
        arguments.setdefault("init_weights", True)  # None is a warning for GoogLeNet and Inception

    network = construct(name, None if file else entry, arguments, options)
    *auxiliary, classifier = classification_layers(network, NUM_CLASSES)
    default: WeightsEnum = get_model_weights(name).DEFAULT
    built = BuiltNetwork(
        network=network,
        name=name,
        options=options | settings_from_weights(network),
        weights="random",
        preprocessing=preprocessing(
            entry or default, getattr(network, "image_size", None) or size_of(options)
        ),
        classifiers=(classifier,),
        auxiliary=tuple(auxiliary),
    )
    if file:
        _, difference = load_file(built, with_positions_of(network, file))
        refuse_difference(difference, file, name)
    if entry:
        return replace(built, weights=f"{entry.name} (torchvision)", is_pretrained=True)
    return loaded_from(file, built) if file else built


def arguments_of(name: str) -> Collection[str]:
    """Return the names of the arguments that the network's class takes."""
    network_class = inspect.signature(get_model_builder(name)).return_annotation
    return inspect.signature(network_class).parameters


def size_option(name: str, size: int) -> dict[str, Any] | None:
    """Return the option of a network of one fixed size for images of another; None where it has none."""
    accepted = arguments_of(name)
    if "image_size" in accepted:
        return {"image_size": size}
    return {"input_size": [size, size]} if "input_size" in accepted else None


def size_of(options: dict[str, Any]) -> int | None:
    """Return the size of the images that the options ask for, in pixels."""
    size = options.get("image_size") or options.get("input_size")
    return size[0] if isinstance(size, list | tuple) else size


def with_positions_of(network: nn.Module, file: WeightsFile) -> WeightsFile:
    """Return the file with a ViT's position embedding interpolated to the size of the network's images."""
    if not isinstance(network, VisionTransformer):
        return file
    own = network.encoder.pos_embedding
    state_dicts = {key: OrderedDict(state) for key, state in file.state_dicts.items()}
    for state in state_dicts.values():
        for name in [n for n, value in state.items() if n.endswith(POSITIONS) and value.shape != own.shape]:
            try:
                resized = interpolate_embeddings(
                    network.image_size, network.patch_size, OrderedDict({POSITIONS: state[name]})
                )
            except (ValueError, RuntimeError):
                continue  # It is another network's; `refuse_difference` names it.
            log.info("%s: %s is interpolated to %d pixels", file.path, name, network.image_size)
            state[name] = resized[POSITIONS]
    return replace(file, state_dicts=state_dicts)


def choose_weights(name: str, weights: str) -> WeightsEnum:
    """Return the entry of the network's weights enum with its file in torch's cache."""
    choices = get_model_weights(name)
    if weights != "default" and weights not in choices.__members__:
        raise UserError(
            f"model.weights={weights}: {name} has {', '.join(c.name for c in choices)}."
            f"{suggestion(weights, choices.__members__)} "
            "Or write default, the path or URL of a file, or null for random weights."
        )
    entry: WeightsEnum = choices["DEFAULT" if weights == "default" else weights]
    return entry


def construct(
    name: str, entry: WeightsEnum | None, arguments: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    """Return torchvision's network, its own weights loaded by its own loader."""
    file = download(entry.url) if entry else None
    try:
        with warnings.catch_warnings():
            # That GoogLeNet's auxiliary classifiers are untrained does not matter: new ones follow.
            warnings.simplefilter("ignore")
            return get_model(name, weights=entry, progress=False, **arguments)
    except (
        *DAMAGED,
        ArithmeticError,
        AssertionError,
        AttributeError,
        ImportError,
        pickle.UnpicklingError,
    ) as error:
        misfit = "loading state_dict" in str(error)
        of_options = options and isinstance(error, (TypeError, ValueError, AssertionError, ArithmeticError))
        if file and not misfit and not of_options:
            raise damaged(file, reason(error)) from error
        if not options and misfit:
            raise UserError(
                f"model.weights: {file} does not fit {name} ({reason(error)}); delete it."
            ) from error
        raise UserError(
            f"model.options={options} does not fit {name} of torchvision: {reason(error)}."
        ) from error


def settings_from_weights(network: nn.Module) -> dict[str, Any]:
    """Return the constructor arguments that torchvision's builders themselves set for some weights.

    GoogLeNet and Inception v3 scale their input as in Google's files; a ViT has its weights' size.
    """
    keys = ("transform_input", "image_size")
    return {key: getattr(network, key) for key in keys if hasattr(network, key)}


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
