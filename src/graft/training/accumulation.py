"""The gradient of accumulated batches: that of the mean over all of their images."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn


class Accumulation:
    """Weighs the batches between two optimizer steps by their images, or the sums of their class weights.

    Lightning divides every batch's loss by `accumulate_grad_batches`, whatever its size, also in the shorter
    last group of an epoch.
    """

    def __init__(self) -> None:
        self.weights: list[float | Tensor] = []  # of the batches since the last step
        self.reference = 1  # images in the first of them; the same in all processes

    def weighed(self, loss: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
        """Return a batch's mean loss, weighed; `class_weights` `[C]` are those of a loss for classes."""
        if not self.weights:
            self.reference = len(targets)
        has_weights = class_weights is not None and not targets.is_floating_point()
        self.weights.append(class_weights[targets].sum() if has_weights else float(len(targets)))  # type: ignore[index]
        return loss * (self.weights[-1] / self.reference)

    def rescale_gradients(self, module: L.LightningModule, trainer: L.Trainer) -> None:
        """Turn the sum of the weighed batches' gradients into that of the mean over their images."""
        if not self.weights:
            return
        total: Any = sum(self.weights)
        if trainer.world_size > 1:  # Gradients are averaged over the processes.
            total = torch.as_tensor(total, dtype=torch.float32, device=module.device)
            total = module.all_gather(total).mean()  # type: ignore[union-attr]
        factor = trainer.accumulate_grad_batches * self.reference / total
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        self.weights = []


def class_weights_of(loss: nn.Module) -> Tensor | None:
    weights = getattr(loss, "weight", None)
    return weights if isinstance(weights, Tensor) else None
