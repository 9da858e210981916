"""The network that is trained: a pretrained backbone and a new head."""

import torch
from torch import Tensor, nn

from graft.models.backbones import Backbone


class Classifier(nn.Module):
    """A backbone `[B, C, H, W] → features` and a head `features → logits [B, num_classes]`.

    Weights and images are channels-last in memory, with which convolutions are fastest.
    """

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, num_classes]` of normalised images `[B, C, H, W]`."""
        return self.forward_with_auxiliary(images)[0]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, and those of the backbone's auxiliary classifiers where they are trained."""
        images = images.contiguous(memory_format=torch.channels_last)
        features, auxiliary = self.backbone.forward_with_auxiliary(images)
        return self.head(features), auxiliary
