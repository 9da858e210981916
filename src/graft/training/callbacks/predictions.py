"""Keeps the logits of a validation or a test, for the decision and the record of the run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from graft.models.checkpoints import save_atomically


@dataclass(frozen=True)
class Predictions:
    """The logits `[N, C]` and targets `[N, ...]` of a split's images, in the split's order."""

    logits: Tensor
    targets: Tensor


class KeepPredictions(L.Callback):
    """After a validation or a test, holds the predictions of the whole split, in every process."""

    def __init__(self) -> None:
        self.val: Predictions | None = None
        self.test: Predictions | None = None
        self.parts: list[tuple[Tensor, Tensor]] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.parts = []

    on_test_epoch_start = on_validation_epoch_start

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

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.val = self._gathered(trainer)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.test = self._gathered(trainer)

    def save_validation(self, file: Path, epoch: int) -> None:
        """Write the last validation's predictions and its epoch, whole or not at all."""
        assert self.val is not None, "a validation comes before its predictions"
        save_atomically({"epoch": epoch, "logits": self.val.logits, "targets": self.val.targets}, file)

    def _gathered(self, trainer: L.Trainer) -> Predictions:
        mine = tuple(torch.cat(tensors) for tensors in zip(*self.parts, strict=True))
        shares: list[Any] = [mine]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, mine)
        self.parts = []
        return Predictions(*(interleaved(tensors) for tensors in zip(*shares, strict=True)))


def saved_validation(file: Path, epoch: int) -> Predictions | None:
    """Return what `save_validation` wrote of this epoch; None where there is none."""
    if not file.is_file():
        return None
    saved = torch.load(file, map_location="cpu", weights_only=True)
    return Predictions(saved["logits"], saved["targets"]) if saved["epoch"] == epoch else None


def interleaved(shares: tuple[Tensor, ...]) -> Tensor:
    """Return the rows of all processes in the split's order; process r of n has every n-th, from r on."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole
