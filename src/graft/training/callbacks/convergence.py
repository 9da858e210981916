"""Ends a phase that is to last until what learns in it has converged."""

import math
from typing import Any

import lightning as L

from graft.training.module import TransferModule


class EndConvergedPhase(L.Callback):
    """Ends a phase after its `patience` in epochs has passed without a lower `val/loss`."""

    def __init__(self) -> None:
        self.lowest, self.waited = math.inf, 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin anew with every phase; a resumed one then gets its state from the checkpoint."""
        self.lowest, self.waited = math.inf, 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the epochs without progress, before the epoch's checkpoint is saved."""
        assert isinstance(pl_module, TransferModule)
        phase = pl_module.phase
        if phase.patience is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        loss = trainer.strategy.broadcast(float(trainer.callback_metrics["val/loss"]))
        self.lowest, self.waited = (loss, 0) if loss < self.lowest else (self.lowest, self.waited + 1)
        if self.waited >= phase.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest, self.waited = state_dict["lowest"], state_dict["waited"]
