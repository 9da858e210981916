"""The whole network as its library builds it, and the search for its classification layer."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from graft.preprocessing import Preprocessing


@dataclass(frozen=True)
class BuiltNetwork:
    """A network with its classification layer, and what is known about it and its weights."""

    network: nn.Module
    name: str
    options: dict[str, Any]  # with these, name and no weights, the same structure is built again
    weights: str  # what was loaded, for people
    preprocessing: Preprocessing
    classifiers: tuple[str, ...]  # module names of the classification layer; distilled ViTs have two
    is_pretrained: bool = False
    auxiliary: tuple[str, ...] = ()  # module names of the classification layers used in training only


def is_below(key: str, modules: tuple[str, ...]) -> bool:
    """Return whether a parameter's or module's name lies in one of the modules."""
    return any(key.startswith(f"{module}.") for module in modules)


def classification_layers(network: nn.Module, num_classes: int) -> tuple[str, ...]:
    """Return the names of the layers with `num_classes` outputs, the one of the logits last.

    An auxiliary classifier hangs on the middle of its network, but torchvision registers the
    layer of the logits after all others.
    """
    return tuple(
        name
        for name, layer in network.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == num_classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == num_classes)
    )
