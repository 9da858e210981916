"""Folds a frozen network's BatchNorm layers into its convolutions: less to compute, the same features."""

import copy
from collections import Counter
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-4  # largest difference, relative to the largest output, that is taken for rounding


@torch.inference_mode()
def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy of a network in evaluation mode with its BatchNorm layers folded into its convolutions.

    Both are run on `images` `[B, C, H, W]`. Where their outputs differ by more than rounding, such as when
    something else also uses a convolution's output, the network itself is returned.
    """
    network = network.eval()
    copied = copy.deepcopy(network)
    for convolution, norm_name in normalised_convolutions(copied, images):
        norm = copied.get_submodule(norm_name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = (norm.running_mean, norm.running_var, norm.eps)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, *statistics, norm.weight, norm.bias
        )
        # timm's norms also have dropout and an activation.
        rest = [norm.get_submodule(name) for name in ("drop", "act") if hasattr(norm, name)]
        copied.set_submodule(norm_name, nn.Sequential(*rest))
    copied.to(memory_format=torch.channels_last)
    expected, output = network(images), copied(images)
    is_close = (output - expected).abs().max() <= TOLERANCE * expected.abs().max()
    return copied if bool(is_close) else network


def normalised_convolutions(network: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, str]]:
    """Return each convolution whose output goes into a BatchNorm, with that norm's name; both run once."""
    computed_by: dict[int, nn.Conv2d] = {}
    outputs: list[Tensor] = []  # While they are referenced, no two tensors have the same id.
    runs: Counter[nn.Module] = Counter()
    pairs: list[tuple[nn.Conv2d, str]] = []

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] += 1
        if isinstance(module, nn.Conv2d):
            computed_by[id(output)] = module
            outputs.append(output)
        elif id(inputs[0]) in computed_by:
            pairs.append((computed_by[id(inputs[0])], name))

    hooks = []
    for name, module in network.named_modules():
        has_statistics = isinstance(module, nn.BatchNorm2d) and module.track_running_stats
        if has_statistics or isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(partial(note, name)))
    network(images)
    for hook in hooks:
        hook.remove()
    return [(conv, name) for conv, name in pairs if runs[conv] == 1 == runs[network.get_submodule(name)]]
