"""Ends a phase of training when a metric no longer improves."""

import sys

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from graft.training.module import TransferModule
from graft.training.monitoring import better_direction


class StopWhenStalled(EarlyStopping):
    """Lightning's EarlyStopping, anew for each phase, in the direction that the metric itself gives.

    `patience` counts epochs without an improvement of more than `min_delta`, from the phase's first epoch on.
    `mode` is min, max or auto; see `graft.training.monitoring.better_direction`.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str = "auto") -> None:
        super().__init__(monitor, patience=patience, check_finite=False)
        self.asked_mode, self.smallest_change = mode, abs(min_delta)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin anew with every phase; a resumed one then gets its state from the checkpoint."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        self.mode = better_direction(pl_module, self.monitor, self.asked_mode)
        is_lower_better = self.mode == "min"
        self.min_delta = -self.smallest_change if is_lower_better else self.smallest_change
        best = torch.tensor(torch.inf if is_lower_better else -torch.inf)
        self.load_state_dict(
            {"wait_count": 0, "stopped_epoch": 0, "best_score": best, "patience": self.patience}
        )


class EndConvergedPhase(StopWhenStalled):
    """Ends a phase after its own `patience` in epochs has passed without a lower `val/loss`."""

    def __init__(self) -> None:
        super().__init__("val/loss", patience=sys.maxsize, min_delta=0.0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the patience of the phase; one without never ends early."""
        assert isinstance(pl_module, TransferModule)
        self.patience = pl_module.phase.patience or sys.maxsize
        super().setup(trainer, pl_module, stage)
