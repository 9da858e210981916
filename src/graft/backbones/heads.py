"""The layer that names the classes: where a pretrained network has its own, and the new one."""

from torch import nn

from graft.backbones.backbone import Backbone
from graft.errors import UserError


def find_classification_layer(network: nn.Module, num_classes: int) -> str:
    """Return the dotted name of the one Linear or Conv2d layer that has `num_classes` outputs.

    Raises UserError where no layer or more than one fits.
    """
    found = [name for name, module in network.named_modules() if outputs(module) == num_classes]
    if len(found) != 1:
        raise UserError(
            f"{type(network).__name__} has {len(found)} layers of {num_classes} outputs "
            f"({', '.join(found) or 'none'}), so its classification layer is not clear."
        )
    return found[0]


def outputs(module: nn.Module) -> int | None:
    """Return the number of outputs of a Linear or Conv2d layer, None for any other."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None


def remove_classification_layer(network: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    """Replace the named layer by the identity and return it.

    What follows a convolutional layer (activation, pooling) is replaced as well, and belongs to
    the new head.
    """
    parent_name, _, child = name.rpartition(".")
    parent = network.get_submodule(parent_name)
    layer = parent.get_submodule(child)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    setattr(parent, child, nn.Identity())
    if isinstance(layer, nn.Conv2d):
        for later in range(int(child) + 1, len(list(parent.children()))):
            setattr(parent, str(later), nn.Identity())
    return layer


def build_head(
    backbone: Backbone, num_classes: int, dropout: float = 0.0, hidden: int | None = None
) -> nn.Module:
    """Return a new head, `features → logits [B, num_classes]`.

    A linear layer, or a 1x1 convolution where the network has one; `dropout` drops a share of the
    features before it, `hidden` puts a layer of that width in between. Raises UserError where a
    setting is out of its range.
    """
    if not 0 <= dropout < 1:
        raise UserError(f"head.dropout={dropout}: it is a share, 0 <= dropout < 1.")
    if hidden is not None and hidden < 1:
        raise UserError(f"head.hidden={hidden}: it is a width of 1 or more, or null.")
    convolutional = backbone.has_convolutional_head

    def layer(inputs: int, width: int) -> nn.Module:
        return nn.Conv2d(inputs, width, 1) if convolutional else nn.Linear(inputs, width)

    layers: list[nn.Module] = []
    if convolutional:
        # The backbone yields its map flattened; a 1x1 convolution and a mean need not know its shape.
        layers.append(nn.Unflatten(1, (backbone.num_features, -1, 1)))
    width = backbone.num_features
    if hidden is not None:
        layers += [layer(width, hidden), nn.ReLU()]
        width = hidden
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    layers.append(layer(width, num_classes))
    if convolutional:
        layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
