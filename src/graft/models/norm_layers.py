"""Finds the normalisation layers of a network, whichever library they are from."""

from collections.abc import Iterator

from torch import nn

OF_TORCH = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NAMES = ("Norm", "Abn")  # in the names of the other layers' classes: RmsNorm, EvoNorm2dB0, InplaceAbn


def norm_layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yield every normalisation layer of a network."""
    return (module for module in network.modules() if is_norm(module))


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer: one of torch's, or by the name of its class.

    A block that is named after the norm in it (`ConvNormAct`) holds a convolution or a linear layer as well,
    or has nothing of its own.
    """
    if isinstance(module, OF_TORCH):
        return True
    is_named = any(name in kind.__name__ for kind in type(module).__mro__ for name in NAMES)
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return is_named and bool(own) and not any(isinstance(part, WEIGHT_LAYERS) for part in module.modules())
