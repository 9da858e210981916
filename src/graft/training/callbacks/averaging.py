"""Validates, tests and saves an average of the weights over training (EMA)."""

from typing import Any

import lightning as L
import torch
from torch import Tensor


class ExponentialMovingAverage(L.Callback):
    """Keeps an exponential moving average of the classifier's weights, and uses it for all but training.

    The decay rises with the steps, `min(decay, (1 + t) / (10 + t))`, so that the average forgets the first
    weights in short runs too (Tan & Le 2019, EfficientNet, as TensorFlow's ExponentialMovingAverage).
    A checkpoint's `state_dict` holds the average: it is what `test`, prediction and export see. The weights
    that training goes on from lie beside it. (Lightning's own tests the raw weights on the same Trainer.)
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}
        self.raw: dict[str, Tensor] | None = None  # training's weights, while the average is in use

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights as they are, unless a phase before or a checkpoint has left an average."""
        state = pl_module.state_dict()
        self.average = {
            name: self.average.get(name, value).detach().clone().to(value.device)
            for name, value in state.items()
        }

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Move the average towards the weights, once for every optimizer step."""
        if trainer.global_step <= self.steps:
            return
        self.steps = trainer.global_step
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in pl_module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.raw = {name: value.clone() for name, value in pl_module.state_dict().items()}
            pl_module.load_state_dict(self.average)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.raw is not None:
            pl_module.load_state_dict(self.raw)
            self.raw = None

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["raw_state_dict"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value.clone() for name, value in self.average.items()}
        checkpoint["ema_steps"] = self.steps

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the average from a checkpoint, and give training its own weights back."""
        if trainer.state.fn != "fit":
            return
        self.average = {name: value.clone() for name, value in checkpoint["state_dict"].items()}
        self.steps = checkpoint["ema_steps"]
        pl_module.load_state_dict(checkpoint["raw_state_dict"])
