"""The backbone: a pretrained network without its classification layer."""

from typing import Any

from torch import Tensor, nn

from graft.models.backbones.network import BuiltNetwork


class Backbone(nn.Module):
    """A network without its classification layer, with the preprocessing of its weights.

    Where `has_convolutional_head`, the features are flattened maps, `[B, num_features * h * w]`.
    """

    def __init__(self, source: str, built: BuiltNetwork) -> None:
        super().__init__()
        self.source = source
        self.name = built.name
        self.weights = built.weights
        self.is_pretrained = built.is_pretrained
        self.preprocessing = built.preprocessing
        self.options = built.options
        self.channels = built.channels
        self.network, self.num_features = built.remove_classifier(built)
        self.has_convolutional_head = built.has_convolutional_head
        self.auxiliary = built.auxiliary
        self.auxiliary_weight = built.auxiliary_weight
        self._remove_auxiliary = built.remove_auxiliary

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[B, num_features]` of normalised images `[B, channels, H, W]`."""
        return self.forward_with_auxiliary(images)[0]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features, and the logits `[B, C]` of each auxiliary classifier of some networks.

        In training, the loss of each counts `auxiliary_weight` times beside the head's loss. There are none
        in evaluation and while the whole backbone is frozen.
        """
        output = self.network(images)
        features, *logits = output if isinstance(output, tuple) else (output,)
        return features, logits

    def set_auxiliary_classes(self, num_classes: int) -> None:
        for name in self.auxiliary:
            old = self.network.get_submodule(name)
            assert isinstance(old, nn.Linear)
            new = nn.Linear(old.in_features, num_classes, device=old.weight.device)
            self.network.set_submodule(name, new)

    def remove_auxiliary_heads(self) -> None:
        """Remove the auxiliary classifiers, which a backbone that is always frozen does not use."""
        if self._remove_auxiliary is not None:
            self._remove_auxiliary(self.network)
        self.auxiliary, self.auxiliary_weight = (), 0.0

    def spec(self) -> dict[str, Any]:
        """Return plain values with which `rebuild_backbone(**spec)` rebuilds this without its weights."""
        return {
            "source": self.source,
            "name": self.name,
            "options": self.options,
            "channels": self.channels,
            "auxiliary": bool(self.auxiliary),
        }
