"""A network as its source builds it: still whole, with what Graft has to know about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from graft.errors import UserError, suggestion
from graft.preprocessing import Preprocessing


def remove_linear_layer(built: "BuiltNetwork") -> tuple[nn.Module, int]:
    """Replace the one linear classification layer by nothing; return the width of its input."""
    network, (name,) = built.network, built.classifiers
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    network.set_submodule(name, nn.Identity())
    return network, layer.in_features


@dataclass(frozen=True)
class BuiltNetwork:
    """A network with its classification layer, and what is known about it and its weights."""

    network: nn.Module
    name: str
    options: dict[str, Any]  # with these, name and no weights, the same structure is built again
    weights: str  # what was loaded, for people
    preprocessing: Preprocessing
    classifiers: tuple[str, ...] = ()  # module names of the classification layer; distilled ViTs have two
    # Returns the network without its classification layer, and the number of its features.
    remove_classifier: Callable[["BuiltNetwork"], tuple[nn.Module, int]] = remove_linear_layer
    is_pretrained: bool = False
    channels: int = 3  # of the images
    mixes_channels: bool = False  # whether it computes with red, green and blue before its first layer
    has_convolutional_head: bool = False  # whether its features are flattened maps, for a convolution
    auxiliary: tuple[str, ...] = ()  # module names of the classification layers used in training only
    auxiliary_weight: float = 0.0  # how often the loss of each counts beside the head's
    remove_auxiliary: Callable[[nn.Module], None] | None = None


def is_below(key: str, modules: tuple[str, ...]) -> bool:
    return any(key.startswith(f"{module}.") for module in modules)


def unknown_name(name: str, source: str, names: list[str]) -> UserError:
    return UserError(
        f"model.name={name}: {source} has no such network.{suggestion(name, names)} "
        "python scripts/models.py lists all."
    )


def unknown_weights(name: str, weights: str, known: list[str]) -> UserError:
    return UserError(
        f"model.weights={weights}: {name} has no such weights.{suggestion(weights, known)} Write default"
        f"{''.join(f', {entry}' for entry in known if entry)}, the path or URL of a file, or null."
    )
