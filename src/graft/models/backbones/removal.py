"""Takes the classification layer off a network."""

from torch import nn

from graft.models.backbones.network import BuiltNetwork


def remove_classifier(built: BuiltNetwork) -> tuple[int, bool]:
    """Make the network return features; return how many, and whether they are flattened maps."""
    network = built.network
    if hasattr(network, "reset_classifier"):
        network.reset_classifier(0)  # type: ignore[operator]
        # Some of timm's heads have a hidden layer, whose width is what the classifier gets.
        return int(getattr(network, "head_hidden_size", None) or network.num_features), False  # type: ignore[arg-type]
    (name,) = built.classifiers
    layer = network.get_submodule(name)
    if isinstance(layer, nn.Linear):
        network.set_submodule(name, nn.Identity())
        return layer.in_features, False
    assert isinstance(layer, nn.Conv2d)
    # What follows a convolution into classes (ReLU, pooling) works on logits and goes with it.
    parent, _, index = name.rpartition(".")
    for position in range(int(index), len(network.get_submodule(parent))):  # type: ignore[arg-type]
        network.set_submodule(f"{parent}.{position}", nn.Identity())
    return layer.in_channels, True
