"""A network of one's own: any nn.Module that Python can import and that returns features.

`options` are `_target_` (the import path of a class or function), its `arguments`, and `preprocessing`.
"""

import importlib
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from graft.errors import UserError, reason
from graft.models.backbones.image_sizes import FAILURES, trial_output
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.weights import load_file
from graft.models.backbones.weights_file import WeightsFile
from graft.preprocessing import Preprocessing


def names() -> list[str]:
    return []


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build the network that `_target_` makes, with a file's weights or those that it has by itself."""
    del name  # The network is called as its class.
    if isinstance(weights, str):
        raise UserError(
            f"model.weights={weights}: a network of your own has no list of weights; write null or a file."
        )
    given = options["preprocessing"]
    built = BuiltNetwork(
        network=construct(options["_target_"], options["arguments"]),
        name=options["_target_"].rpartition(".")[2],
        options=options,
        weights="its own initial",
        preprocessing=Preprocessing(
            resize=(given["size"],),
            crop=(given["size"], given["size"]),
            interpolation=given["interpolation"],
            antialias=True,
            mean=tuple(given["mean"]),
            std=tuple(given["std"]),
        ),
        remove_classifier=with_pooling,
    )
    return built if weights is None else load_file(built, weights)


def size_option(name: str, size: int) -> None:
    del name, size


def construct(target: str, arguments: dict[str, Any]) -> nn.Module:
    module, _, attribute = target.rpartition(".")
    try:
        network = getattr(importlib.import_module(module), attribute)(**arguments)
    except Exception as error:  # A person's own code may raise anything.
        raise UserError(
            f"model._target_={target} cannot be built with model.options={arguments}: {reason(error)}."
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"model._target_={target} makes a {type(network).__name__}, not a torch.nn.Module.")
    return network


def with_pooling(built: BuiltNetwork) -> tuple[nn.Module, int]:
    """Return the network, followed by the mean over its maps where it returns maps, and its width."""
    target, size, channels = built.options["_target_"], built.preprocessing.crop, built.channels
    try:
        output = trial_output(built.network.eval(), size, 2, channels)
    except FAILURES as error:
        raise UserError(
            f"model._target_={target} cannot run images of {channels} channels and {size[0]} pixels "
            f"({reason(error)}); change model.options, data.channels or model.preprocessing.size."
        ) from error
    shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if not isinstance(output, Tensor) or output.ndim not in (2, 4) or len(output) != 2:
        raise UserError(
            f"model._target_={target} returns {shape} for two images; "
            "it has to return features [B, F] or maps [B, C, h, w], without a classification layer."
        )
    pooled = OrderedDict(network=built.network, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    return (nn.Sequential(pooled) if output.ndim == 4 else built.network), output.shape[1]
