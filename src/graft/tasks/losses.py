"""Losses that torch does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Cross-entropy that counts images less the better they are classified (Lin et al. 2017, Focal Loss).

    For logits `[B, C]` and class indices `[B]`, or zeros and ones `[B, C]` (several labels per image).
    `gamma` is 0 or more; 0 is cross-entropy. `weight` and `pos_weight` `[C]` are those of torch's losses.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, gamma: float = 2.0, weight: Tensor | None = None, pos_weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("pos_weight", pos_weight, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            losses = F.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=self.pos_weight, reduction="none"
            )
            right = torch.where(targets > 0.5, logits.sigmoid(), 1 - logits.sigmoid())
            return ((1 - right) ** self.gamma * losses).mean()
        losses = F.cross_entropy(logits, targets, weight=self.weight, reduction="none")
        right = logits.softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
        weights = torch.ones_like(losses) if self.weight is None else self.weight[targets]
        return ((1 - right) ** self.gamma * losses).sum() / weights.sum()
