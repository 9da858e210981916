"""Builds a network for the size of the images that it gets, or says which sizes it takes."""

from collections.abc import Callable
from itertools import chain
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from graft.errors import UserError
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.weights_file import WeightsFile

FAILURES = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, ZeroDivisionError)
STEPS = (2, 4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 224, 256)  # pixels: patches times windows


def build_for_size(
    library: ModuleType,
    name: str,
    weights: WeightsFile | str | None,
    options: dict[str, Any],
    image_size: int | None,
) -> BuiltNetwork:
    """Build a network of a library, with its option for another image size where it needs one.

    Raises UserError with the sizes that the network takes where `image_size` is none of them.
    """
    built: BuiltNetwork = library.build(name, weights, options)
    if image_size is None or runs(built.network.eval(), image_size):
        return built

    def option_that_helps(size: int) -> dict[str, Any] | None:
        """Return the option with which the network takes this size, None where there is none."""
        option = library.size_option(name, size)
        if option is None or option.keys() & options.keys():
            return None
        try:
            with torch.device("meta"):
                network = library.build(name, None, options | option).network.eval()
        except (UserError, *FAILURES):
            return None
        return option if runs(network, size) else None

    option = option_that_helps(image_size)
    if option is not None:
        rebuilt: BuiltNetwork = library.build(name, weights, options | option)
        return rebuilt
    sizes = sizes_that_run(
        lambda size: runs(built.network, size) or option_that_helps(size) is not None,
        image_size,
        built.preprocessing.crop[0],
    )
    raise UserError(f"data.image_size={image_size}: {name} takes {sizes}.")


def runs(network: nn.Module, size: int, batch_size: int = 2) -> bool:
    """Return whether a network takes images of this height and width, in the modes that its parts are in."""
    return failure(network, (size, size), batch_size) is None


def failure(network: nn.Module, size: tuple[int, int], batch_size: int) -> Exception | None:
    """Return why a network cannot run images of this height and width; None where it can.

    It runs without numbers (PyTorch's meta device), or with zeros where it computes with tensors of its own
    that are neither parameters nor buffers. Its statistics and the random numbers stay as they are.
    """
    buffers = dict(network.named_buffers())
    everything = dict(chain(network.named_parameters(), buffers.items()))
    empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in everything.items()}
    copies = {name: tensor.clone() for name, tensor in buffers.items()}
    own_device = next(iter(everything.values())).device
    found: Exception | None = None
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for tensors, device in ((empty, torch.device("meta")), (copies, own_device)):
            try:
                functional_call(network, tensors, torch.zeros(batch_size, 3, *size, device=device))
            except FAILURES as error:
                found = error
            else:
                return None
    return found


def sizes_that_run(takes: Callable[[int], bool], wrong: int, known: int) -> str:
    """Return the sizes that a network takes, for people: it does not take `wrong`, but does `known`."""
    if wrong < known:
        smallest, below = known, wrong
        while smallest - below > 1:
            middle = (smallest + below) // 2
            smallest, below = (middle, below) if takes(middle) else (smallest, middle)
        if all(takes(size) for size in (smallest + 1, (smallest + known) // 2, known + 1)):
            return f"images of {smallest} pixels or more"
    for step in STEPS:
        if known % step == 0 and takes(known + step):
            multiples = range(-(-wrong // step) * step, known + wrong, step)
            nearest = next((size for size in multiples if takes(size)), known)
            return f"images whose side is a multiple of {step} pixels, such as {nearest}"
    return f"images of {known} pixels only"
