"""Measures how many training pictures a second a run takes."""

import time
from typing import Any

import lightning as L


class PicturesPerSecond(L.Callback):
    """Logs `train/pictures_per_second` of every epoch: its training batches, loading included."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.pictures = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.began, self.pictures = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the pictures."""
        del trainer, pl_module, outputs, batch_idx
        self.pictures += len(batch[1])
        self.ended = time.perf_counter()  # The epoch goes on with the validation.

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the mean over the epoch, of all processes together."""
        if self.pictures:
            speed = trainer.world_size * self.pictures / max(self.ended - self.began, 1e-9)
            pl_module.log("train/pictures_per_second", speed)
