"""Networks of a few numbers, and how to fit them quietly."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

Schedule = Callable[[Optimizer], lr_scheduler.LRScheduler]


class Toy(L.LightningModule):
    """A backbone with a norm, and a head; the loss is the mean square of the output."""

    def __init__(self, schedule: Schedule | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 1)
        self.schedule = schedule

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss."""
        del batch_idx
        output: Tensor = self.head(self.backbone(batch[0]))
        loss = output.square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        """Give the optimizer the trainable parameters, and the scheduler if there is one."""
        optimizer = SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)
        return ([optimizer], [self.schedule(optimizer)]) if self.schedule else optimizer


class Weight(L.LightningModule):
    """One number that falls by 1 in every step, so that an average of it can be told from it."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.seen: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the number itself, whose slope is 1."""
        del batch, batch_idx
        return 1 * self.value

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Note the number."""
        del batch, batch_idx
        self.seen.append(self.value.item())

    test_step = validation_step

    def configure_optimizers(self) -> Optimizer:
        """Step by 1."""
        return SGD(self.parameters(), lr=1.0)


class Groups(Toy):
    """The toy with a rate for the backbone and another for the head."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.1

    def configure_optimizers(self) -> Optimizer:
        """Return two groups."""
        groups: list[dict[str, Any]] = [
            {"params": self.backbone.parameters(), "lr": 0.001},
            {"params": self.head.parameters()},
        ]
        return SGD(groups, lr=self.lr)


def data(batches: int = 2) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of four random rows `[4, 2]`, the same in every epoch."""
    return DataLoader(TensorDataset(torch.randn(4 * batches, 2)), 4)


def fit(
    module: L.LightningModule, folder: str, epochs: int, *callbacks: L.Callback, **settings: Any
) -> L.Trainer:
    """Fit quietly in a folder, and return the Trainer."""
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data(settings.pop("batches", 2)), **settings)
    return trainer
