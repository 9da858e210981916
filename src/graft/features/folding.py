"""Folds a frozen network's BatchNorm layers into its convolutions: less to compute, the same features."""

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

CLOSE = 1e-4  # Largest difference, relative to the largest output, that is taken for rounding.


@torch.inference_mode()
def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy of a network in evaluation mode with its BatchNorm layers folded into its convolutions.

    `images` `[B, 3, H, W]` are run through both. Where their outputs differ by more than rounding, such as
    when something else also takes a convolution's output, it is the network itself that is returned.
    """
    network = network.eval()
    copied = copy.deepcopy(network)
    for convolution, norm_name in normalised_convolutions(copied, images):
        norm = copied.get_submodule(norm_name)
        fold(convolution, norm)
        copied.set_submodule(norm_name, what_remains(norm))
    copied.to(memory_format=torch.channels_last)
    expected, found = network(images), copied(images)
    close = (found - expected).abs().max() <= CLOSE * expected.abs().max()
    return copied if bool(close) else network


def normalised_convolutions(network: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, str]]:
    """Return each convolution whose output goes into a BatchNorm, with that norm's name; both run once."""
    made_by: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # As long as they live, no two tensors have the same id.
    runs: Counter[nn.Module] = Counter()
    found: list[tuple[nn.Conv2d, str]] = []

    def note_convolution(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        made_by[id(output)] = module
        kept.append(output)
        runs[module] += 1

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:

            def note_norm(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                runs[module] += 1
                if id(inputs[0]) in made_by:
                    found.append((made_by[id(inputs[0])], name))

            hooks.append(module.register_forward_pre_hook(note_norm))
        elif isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(note_convolution))
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [(conv, name) for conv, name in found if runs[conv] == 1 == runs[network.get_submodule(name)]]


def fold(convolution: nn.Conv2d, norm: nn.Module) -> None:
    """Let the convolution compute what it and the norm have computed."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    statistics = (norm.running_mean, norm.running_var, norm.eps)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, *statistics, norm.weight, norm.bias
    )


def what_remains(norm: nn.Module) -> nn.Module:
    """Return what a norm does beside normalising: timm's have dropout and an activation, others nothing."""
    parts = [norm.get_submodule(name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*parts)
