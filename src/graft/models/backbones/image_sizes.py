"""Builds a network for the size of the images that it gets, or says which sizes it takes."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from graft.errors import UserError
from graft.models.backbones.network import BuiltNetwork

FAILURES = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, ZeroDivisionError)
STEPS = (2, 4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 224, 256)  # pixels: patches times windows
Build = Callable[[Any, dict[str, Any]], BuiltNetwork]  # from weights and options


def build_for_size(
    build: Build,
    size_option: Callable[[int], dict[str, Any] | None],
    weights: Any,
    options: dict[str, Any],
    image_size: int | None,
) -> BuiltNetwork:
    """Build a network, with its option for another image size where it needs one.

    Raises UserError with the sizes that the network takes where `image_size` is none of them.
    """
    built = build(weights, options)
    if image_size is None or runs(built.network.eval(), image_size, built.channels):
        return built

    def option_that_helps(size: int) -> dict[str, Any] | None:
        option = size_option(size)
        if option is None or option.keys() & options.keys():
            return None
        try:
            with torch.device("meta"):
                network = build(None, options | option).network.eval()
        except (UserError, *FAILURES):
            return None
        return option if runs(network, size, built.channels) else None

    option = option_that_helps(image_size)
    if option is not None:
        return build(weights, options | option)
    sizes = sizes_that_run(
        lambda size: runs(built.network, size, built.channels) or option_that_helps(size) is not None,
        image_size,
        built.preprocessing.crop[0],
    )
    raise UserError(f"data.image_size={image_size}: {built.name} takes {sizes}.")


def runs(network: nn.Module, size: int, channels: int = 3) -> bool:
    """Return whether a network takes images of this height and width, in the modes that its parts are in."""
    return failure(network, (size, size), batch_size=2, channels=channels) is None


def failure(
    network: nn.Module, size: tuple[int, int], batch_size: int, channels: int = 3
) -> Exception | None:
    """Return why a network cannot run images of this height and width; None where it can."""
    try:
        trial_output(network, size, batch_size, channels)
    except FAILURES as error:
        return error
    return None


def trial_output(network: nn.Module, size: tuple[int, int], batch_size: int, channels: int) -> Any:
    """Return the network's output for images without content, or raise what it raises.

    It runs on PyTorch's meta device, or on zeros where it has tensors that are neither parameters nor
    buffers. Its statistics and the random numbers stay as they are.
    """
    buffers = dict(network.named_buffers())
    everything = dict(chain(network.named_parameters(), buffers.items()))
    empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in everything.items()}
    copies = {name: tensor.clone() for name, tensor in buffers.items()}
    own_device = next((tensor.device for tensor in everything.values()), torch.device("cpu"))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            return functional_call(network, empty, torch.zeros(batch_size, channels, *size, device="meta"))
        except FAILURES:
            images = torch.zeros(batch_size, channels, *size, device=own_device)
            return functional_call(network, copies, images)


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
