"""Measures how many training images a second a run takes."""

import time
from typing import Any

import lightning as L


class ImagesPerSecond(L.Callback):
    """Logs `train/images_per_second` of every epoch: its training batches, loading included."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.images = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.began, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images."""
        del trainer, pl_module, outputs, batch_idx
        self.images += len(batch[1])
        self.ended = time.perf_counter()  # The epoch goes on with the validation.

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the mean over the epoch, of all processes together."""
        if self.images:
            speed = trainer.world_size * self.images / max(self.ended - self.began, 1e-9)
            pl_module.log("train/images_per_second", speed)
