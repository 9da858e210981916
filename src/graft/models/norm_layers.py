"""Finds the normalisation layers of a network, whichever library they are from."""

from collections.abc import Iterator

from torch import nn

from graft.models.backbones import Backbone

WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NAMES = ("Norm", "Abn")  # in the names of the classes: RmsNorm, EvoNorm2dB0, InplaceAbn


def norm_layers(network: nn.Module) -> Iterator[nn.Module]:
    return (module for module in network.modules() if is_norm(module))


def resolve_norm(setting: str, backbone: Backbone) -> str:
    """Return `train` or `frozen`; `auto` freezes norm layers where they have pretrained statistics.

    With the statistics of each batch, the features change at once that a head was fitted to.
    """
    if setting != "auto":
        return setting
    statistics = (getattr(layer, "running_mean", None) for layer in norm_layers(backbone))
    return "frozen" if backbone.is_pretrained and any(s is not None for s in statistics) else "train"


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer, by the name of its class or of a base class.

    A block that is named after the norm in it (`ConvNormAct`) holds a convolution or a linear layer as well,
    or has parts but nothing of its own.
    """
    is_named = any(name in kind.__name__ for kind in type(module).__mro__ for name in NAMES)
    has_own = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
    is_block = any(isinstance(part, WEIGHT_LAYERS) for part in module.modules())
    return is_named and not is_block and (has_own or not list(module.children()))
