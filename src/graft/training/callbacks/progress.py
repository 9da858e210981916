"""What a run shows while it trains: a progress bar in a terminal, and a line for every epoch."""

import logging
import sys
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from graft.training.module import TransferModule

log = logging.getLogger(__name__)


class Progress(L.Callback):
    """Shows the loss, the monitored metric and the time left; logs one line an epoch."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.epochs = 0  # of all phases; the Trainer's own end is that of the phase
        self.bar: RichProgress | None = None
        self.began = 0.0
        self.shown_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar, which counts the batches of all epochs still to come."""
        assert isinstance(pl_module, TransferModule)
        self.epochs = pl_module.planned_epochs
        if not (trainer.is_global_zero and sys.stderr.isatty()):
            return
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            transient=True,
        )
        epochs_left = self.epochs - trainer.current_epoch
        batches = epochs_left * (trainer.num_training_batches + sum(trainer.num_val_batches))
        self.task = self.bar.add_task("training", total=batches, figures="")
        self.bar.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note when the epoch began."""
        del pl_module
        self.began = time.monotonic()
        self._show(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Move the bar on by a training batch."""
        del pl_module
        self._advance()
        # Reading the loss waits for the device: twice a second is enough.
        if self.bar is not None and time.monotonic() - self.shown_at > 0.5:
            self.shown_at = time.monotonic()
            self._show(trainer, f"loss {outputs['loss'].item():.3f}")

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Move the bar on by a validation batch."""
        self._advance()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epoch's line: losses, the monitored metric, seconds."""
        del pl_module
        metrics = trainer.callback_metrics
        names = ["train/loss", "val/loss", "val/accuracy", self.monitor]
        figures = [f"{n} {metrics[n].item():.4f}" for n in dict.fromkeys(names) if n in metrics]
        seconds = time.monotonic() - self.began
        epoch = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
        if self.bar is not None:
            self.bar.stop()  # Takes the bar off the line that is printed next.
        log.info("%s  %s  %.1f s", epoch, "  ".join(figures), seconds)
        if self.bar is not None:
            self.bar.start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        del trainer, pl_module
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that the message is not painted over."""
        del trainer, pl_module, exception
        self._close()

    def _advance(self) -> None:
        if self.bar is not None:
            self.bar.advance(self.task)

    def _show(self, trainer: L.Trainer, loss: str = "") -> None:
        if self.bar is None:
            return
        figures = [loss] if loss else []
        if self.monitor in trainer.callback_metrics:
            figures.append(f"{self.monitor} {trainer.callback_metrics[self.monitor].item():.3f}")
        description = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
        self.bar.update(self.task, description=description, figures="  ".join(figures))

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
