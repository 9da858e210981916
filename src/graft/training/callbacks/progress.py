"""What a run shows while it trains: Lightning's progress bar in a terminal, and a line for every epoch."""

import logging
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from tqdm import tqdm

from graft.training.module import TransferModule

log = logging.getLogger(__name__)


class Progress(TQDMProgressBar):
    """Logs the losses, the monitored metric and the seconds of every epoch, of all phases."""

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.monitor = monitor
        self.began = 0.0
        if not sys.stderr.isatty():
            self.disable()

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer, *_)
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TransferModule)
        super().on_train_epoch_end(trainer, pl_module)
        metrics = trainer.callback_metrics
        names = dict.fromkeys(("train/loss", "val/loss", self.monitor))
        values = "  ".join(f"{name} {metrics[name].item():.4f}" for name in names if name in metrics)
        last = str(pl_module.planned_epochs)
        epoch = f"epoch {trainer.current_epoch + 1:>{len(last)}}/{last}"
        with tqdm.external_write_mode():
            log.info("%s  %s  %.1f s", epoch, values, time.monotonic() - self.began)
