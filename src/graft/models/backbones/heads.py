"""The new classification layers that go on a backbone."""

from torch import nn

from graft.models.backbones.backbone import Backbone


def build_head(
    backbone: Backbone, num_classes: int, dropout: float = 0.0, hidden: int | None = None
) -> nn.Module:
    """Return a head: features of the backbone → logits `[B, num_classes]`.

    A linear layer, or with `hidden` two with GELU between; dropout goes before the last. A backbone of
    flattened feature maps gets 1x1 convolutions, then ReLU and mean over the map, as Iandola 2016
    (arXiv:1602.07360) has it. Auxiliary classifiers of the backbone get `num_classes` outputs, too.
    """
    backbone.set_auxiliary_classes(num_classes)
    convolutional = backbone.has_convolutional_head

    def layer(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 1) if convolutional else nn.Linear(inputs, outputs)

    layers: list[nn.Module] = []
    if convolutional:
        layers.append(nn.Unflatten(1, (backbone.num_features, -1, 1)))
    if hidden is not None:
        layers += [layer(backbone.num_features, hidden), nn.GELU()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    layers.append(layer(hidden or backbone.num_features, num_classes))
    if convolutional:
        layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
