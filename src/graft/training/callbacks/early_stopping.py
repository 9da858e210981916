"""Ends a phase of training when the monitored metric no longer improves."""

import math

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from graft.training.monitoring import direction


class StopWhenStalled(EarlyStopping):
    """Lightning's EarlyStopping, with the direction of the metric and anew in every phase.

    `patience` counts epochs without an improvement of more than `min_delta`; `mode` as in
    `graft.training.monitoring`.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str = "auto") -> None:
        super().__init__(monitor, patience=patience, mode="max", check_finite=False)
        self.asked_mode, self.least_change = mode, abs(min_delta)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin anew with every phase; a resumed one then gets its state from the checkpoint."""
        super().setup(trainer, pl_module, stage)
        self.mode = direction(pl_module, self.monitor, self.asked_mode)
        sign = 1 if self.mode == "max" else -1
        self.min_delta = sign * self.least_change
        self.wait_count, self.best_score = 0, torch.tensor(-sign * math.inf)
