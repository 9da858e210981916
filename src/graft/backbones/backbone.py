"""The value that every source returns: a headless network and what is known about it."""

from typing import Any

from torch import Tensor, nn

from graft.preprocessing import Preprocessing


class Backbone(nn.Module):
    """A pretrained network without its classification layer, `[B, 3, H, W] → [B, D]`.

    `num_features` is what a head takes: D, or the channels C of a convolutional head's map, which
    the backbone yields flattened, `[B, C · H · W]`.
    """

    def __init__(
        self,
        network: nn.Module,
        num_features: int,
        preprocessing: Preprocessing,
        source: str,
        name: str,
        weights: str,
        options: dict[str, Any],
        has_convolutional_head: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features
        self.preprocessing = preprocessing
        self.source = source
        self.name = name
        self.weights = weights  # what was loaded, in words
        self.options = options
        self.has_convolutional_head = has_convolutional_head

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features of normalised pictures."""
        features: Tensor = self.network(pictures)
        return features

    def spec(self) -> dict[str, Any]:
        """Return the arguments of `build_backbone` that rebuild the structure, as plain values."""
        return {"source": self.source, "name": self.name, "options": self.options}
