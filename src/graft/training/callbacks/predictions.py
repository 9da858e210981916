"""Keeps what the test makes of every picture, for the report and the figures."""

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """The probabilities `[N, num_classes]` and labels `[N]` of a split's pictures, in the split's order."""

    probabilities: Tensor
    labels: Tensor


class KeepPredictions(L.Callback):
    """After a test, `predictions` are those of the whole split, in every process."""

    def __init__(self) -> None:
        self.predictions: Predictions | None = None
        self.parts: list[tuple[Tensor, Tensor]] = []

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget what an earlier test has left."""
        del trainer, pl_module
        self.parts = []

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the probabilities, which `test_step` returns."""
        del trainer, pl_module, batch_idx, dataloader_idx
        self.parts.append((outputs.cpu(), batch[1].cpu()))

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the batches of all processes together."""
        del pl_module
        mine = tuple(torch.cat(tensors) for tensors in zip(*self.parts, strict=True))
        shares: list[Any] = [mine]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, mine)
        self.predictions = Predictions(*(interleaved(tensors) for tensors in zip(*shares, strict=True)))
        self.parts = []


def interleaved(shares: tuple[Tensor, ...]) -> Tensor:
    """Return the rows of all processes in the split's order; process r of n has every n-th, from r on."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole
