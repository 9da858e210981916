"""The network that is trained: a pretrained backbone and a new head."""

from torch import Tensor, nn


class Classifier(nn.Module):
    """A backbone `[B, 3, H, W] → features` and a head `features → logits [B, num_classes]`."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits `[B, num_classes]` of normalised pictures `[B, 3, H, W]`."""
        logits: Tensor = self.head(self.backbone(pictures))
        return logits
