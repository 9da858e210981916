"""Measures how many training images per second a run takes."""

import time
from typing import Any

import lightning as L


class ImagesPerSecond(L.Callback):
    """Logs `train/images_per_second` of every epoch: its training batches, loading included.

    Lightning's ThroughputMonitor measures windows of steps, not epochs, and only some of the processes.
    """

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[1])
        self.ended = time.perf_counter()  # The epoch goes on with the validation.

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.images:
            seconds = max(self.ended - self.began, 1e-9)
            pl_module.log("train/images_per_second", trainer.world_size * self.images / seconds)
