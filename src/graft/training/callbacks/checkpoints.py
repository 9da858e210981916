"""Keeps `best.ckpt` and `last.ckpt` of a run."""

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from graft.errors import UserError
from graft.models.checkpoints import remove_abandoned_checkpoints
from graft.training.monitoring import better_direction

log = logging.getLogger(__name__)


class BestAndLast(Checkpoint):
    """Saves `last.ckpt` after every epoch and `best.ckpt` whenever an epoch is the best by `monitor`.

    A tie is broken by the lower `val/loss`, then by the later epoch. `mode` is min, max or auto; see
    `graft.training.monitoring.better_direction`.

    Lightning's ModelCheckpoint writes its last.ckpt only in epochs that improve, and forgets the
    best score when a run is resumed in another folder; here neither happens.
    """

    def __init__(self, dirpath: str, monitor: str, mode: str = "auto") -> None:
        self.best_path, self.last_path = (Path(dirpath) / f"{name}.ckpt" for name in ("best", "last"))
        self.monitor = monitor
        self.mode = mode
        self.best_metrics: dict[str, float] = {}  # all of the validation's, at the best epoch
        self.best_epoch = 0  # counted from 1; 0: none yet
        self.history: dict[str, dict[int, float]] = {}  # of every metric, by epoch, counted from 1
        self.has_lost_best = False

    def continue_from(self, checkpoint: Path) -> None:
        """Copy the best checkpoint of the resumed run into this run's folder."""
        source = checkpoint.parent / "best.ckpt"
        if not source.exists():
            log.warning("%s is gone: the best checkpoint is chosen from here on only.", source)
            self.has_lost_best = True
        elif source.resolve() != self.best_path.resolve():
            self.best_path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self.best_path)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove what a killed run has left; let all processes know what only the first has seen."""
        if stage != "fit":
            return
        self.mode = better_direction(pl_module, self.monitor, self.mode)
        if trainer.is_global_zero:
            remove_abandoned_checkpoints(self.best_path.parent)
        self.has_lost_best = trainer.strategy.broadcast(self.has_lost_best)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        """Have the weights validated where `trainer.max_steps` ends a run within an epoch."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # Lightning validates when it is told to stop, not at max_steps.

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch that is over, validation included."""
        measured = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        # A metric that is logged without being reduced differs between processes, and saving is collective.
        measured = trainer.strategy.broadcast(measured)
        if self.monitor not in measured:
            raise UserError(
                f"monitor={self.monitor} is not measured. Choose one of: {', '.join(sorted(measured))}."
            )
        self._refuse_divergence(measured, trainer.current_epoch + 1)
        for name, value in (measured | training_metrics(trainer)).items():
            self.history.setdefault(name, {})[trainer.current_epoch + 1] = value
        if not self.best_metrics or self.rank(measured) >= self.rank(self.best_metrics):
            self.best_metrics, self.best_epoch = measured, trainer.current_epoch + 1
            trainer.save_checkpoint(self.best_path)
        trainer.save_checkpoint(self.last_path)

    def state_dict(self) -> dict[str, Any]:
        return {"best_metrics": self.best_metrics, "best_epoch": self.best_epoch, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
        if not self.has_lost_best:
            self.best_metrics, self.best_epoch = state_dict["best_metrics"], state_dict["best_epoch"]

    def rank(self, measured: dict[str, float]) -> tuple[float, float]:
        """Return what grows with the quality of an epoch: first the score, then the loss, negated."""
        score = measured[self.monitor]
        return (-score if self.mode == "min" else score, -measured["val/loss"])

    def _refuse_divergence(self, measured: dict[str, float], epoch: int) -> None:
        loss, score = measured["val/loss"], measured[self.monitor]
        if not math.isfinite(loss):
            kept = f" The best epoch before is in {self.best_path}." if self.best_metrics else ""
            raise UserError(
                f"training has diverged: val/loss is {loss} after epoch {epoch}. Lower optimizer.lr.{kept}"
            )
        if not math.isfinite(score):
            raise UserError(
                f"monitor={self.monitor} is {score}: it cannot be measured on these validation images; "
                "choose another."
            )


def training_metrics(trainer: L.Trainer) -> dict[str, float]:
    logged = trainer.callback_metrics.items()
    names = ("train/loss_step", "train/images_per_second")
    return {name: float(value) for name, value in logged if name.startswith("train/") and name not in names}
