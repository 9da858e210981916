"""Chooses the engine of a frozen network, and checks that its outputs are the same."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor, nn

from graft.errors import UserError, reason
from graft.models.engines import onnxruntime, openvino
from graft.models.engines.run import Run

CONVERTED = {"openvino": openvino.converted, "onnxruntime": onnxruntime.converted}  # The fastest first.
WORTH_CONVERTING = 1000  # images; conversion takes seconds
TOLERANCE = 1e-4  # largest difference, relative to the largest output


class EngineError(Exception):
    """An engine cannot run a network, or its outputs differ from those of PyTorch; the text says why."""


def choose_engine(setting: str, images: int, has_run: Callable[[str], bool]) -> tuple[str, str]:
    """Return the name of the engine for so many images, and why; UserError where it is not installed.

    `has_run(name)`: whether outputs of this engine are stored, which `auto` then goes on with.
    """
    if setting != "auto":
        if not is_installed(setting):
            raise UserError(f'{setting} is not installed; install it with: pip install -e ".[export]".')
        return setting, f"features.engine={setting}"
    names = [*filter(is_installed, CONVERTED), "torch"]
    if stored := [name for name in names if has_run(name)]:
        return stored[0], "the one that computed what is stored"
    if len(names) > 1 and images < WORTH_CONVERTING:
        return "torch", f"{names[0]} pays from {WORTH_CONVERTING} images on"
    return names[0], "the fastest that is installed"


def is_installed(engine: str) -> bool:
    try:
        return bool(version(engine))
    except PackageNotFoundError:
        return False


def with_version(engine: str) -> str:
    return f"{engine} {version(engine)}"


def converted(engine: str, network: nn.Module, images: Tensor, streams: int) -> Run:
    """Return what runs the network on batches of images of this shape, `streams` of them at a time.

    Raises EngineError where its outputs of `images` `[B, C, H, W]` are not those of PyTorch.
    """
    try:
        expected = network(images)
        run = CONVERTED[engine](network, images[:2].contiguous(), streams)
        difference = float((run(images) - expected).abs().max() / expected.abs().max())
    except Exception as error:
        # Each library has errors of its own.
        raise EngineError(f"it cannot run this network ({reason(error)})") from error
    if not difference <= TOLERANCE:
        raise EngineError(f"its features differ by {difference:.1e} of the largest")
    return run
