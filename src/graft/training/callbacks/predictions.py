"""Keeps the logits of a validation or a test, for the decision and the record of the run."""

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

VALIDATION = "validation"  # the key in a checkpoint


@dataclass(frozen=True)
class Predictions:
    """The logits `[N, C]` and targets `[N, ...]` of a split's images, in the split's order."""

    logits: Tensor
    targets: Tensor


class KeepPredictions(L.Callback):
    """Holds the predictions of the last validation or test of the whole split, in every process."""

    def __init__(self) -> None:
        self.last: Predictions | None = None
        self.parts: list[tuple[Tensor, Tensor]] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.parts = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.parts.append((outputs.cpu(), batch[1].cpu()))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        mine = tuple(torch.cat(tensors) for tensors in zip(*self.parts, strict=True))
        shares: list[Any] = [mine]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, mine)
        self.parts = []
        self.last = Predictions(*(interleaved(tensors) for tensors in zip(*shares, strict=True)))

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a checkpoint hold its epoch's validation, to which the decision is fitted in the end."""
        checkpoint[VALIDATION] = vars(self.last) if self.last else None


def interleaved(shares: tuple[Tensor, ...]) -> Tensor:
    """Return the rows of all processes in the split's order; process r of n has every n-th, from r on."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole
