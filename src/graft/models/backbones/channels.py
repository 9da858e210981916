"""Adapts a network for RGB images to images of another number of channels."""

from dataclasses import replace

from timm.models import adapt_input_conv
from torch import nn

from graft.errors import UserError
from graft.models.backbones.image_sizes import runs
from graft.models.backbones.network import BuiltNetwork

RGB = 3


def with_channels(built: BuiltNetwork, channels: int) -> BuiltNetwork:
    """Adapt the first convolution of a network, in place, to images `[B, channels, H, W]`.

    Its weights are repeated and scaled, or summed for one channel, as timm does it. A network that takes such
    images as it is stays so, and one that sees the images in several convolutions has all of them adapted.
    Raises UserError where the network cannot be adapted.
    """
    if channels == built.channels:
        return built
    adapted, size = replace(built, channels=channels), built.preprocessing.crop[0]
    if built.channels == RGB and not built.mixes_channels:
        if runs(built.network.eval(), size, channels):
            return adapted
        for convolution in rgb_convolutions(built.network).values():
            set_channels(convolution, channels)
            if runs(built.network, size, channels):
                return adapted
    raise UserError(
        f"data.channels={channels}: {built.name} takes images of {built.channels} channels, and its first "
        f"layer cannot be adapted to others; write data.channels={built.channels} or another model.name."
    )


def rgb_convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the convolutions that may see the RGB image, by their names, in order of registration."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == RGB and module.groups == 1
    }


def set_channels(convolution: nn.Conv2d, channels: int) -> None:
    convolution.weight = nn.Parameter(adapt_input_conv(channels, convolution.weight.detach()))
    convolution.in_channels = channels
