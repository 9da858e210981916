"""Ends a phase of training when the monitored metric no longer improves."""

import math

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from graft.training.callbacks.checkpoints import better_direction


class StopWhenStalled(EarlyStopping):
    """Lightning's EarlyStopping, which knows by itself whether lower or higher is better.

    `patience` counts epochs without an improvement of more than `min_delta`.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float) -> None:
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience,
            mode=better_direction(monitor),
            check_finite=False,
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin anew with every phase; a resumed one then gets its state from the checkpoint."""
        super().setup(trainer, pl_module, stage)
        worst = math.inf if self.mode == "min" else -math.inf
        self.wait_count, self.best_score = 0, torch.tensor(worst)
