"""Plain Lightning: the usual LightningModule with a frozen backbone, ModelCheckpoint, no cache."""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from benchmarks.ways.network import LEARNING_RATE, WEIGHT_DECAY, loaders, pretrained


class Module(L.LightningModule):
    """A pretrained network whose backbone is frozen or trainable."""

    def __init__(self, classes: int, steps: int, frozen: bool, name: str = "efficientnet_lite0") -> None:
        super().__init__()
        self.network = pretrained(classes, name)
        self.network[0].requires_grad_(not frozen)
        self.steps = steps

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss."""
        loss = F.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the accuracy."""
        right = (self.network(batch[0]).argmax(dim=1) == batch[1]).float().mean()
        self.log("val/accuracy", right, batch_size=len(batch[1]))

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the accuracy."""
        right = (self.network(batch[0]).argmax(dim=1) == batch[1]).float().mean()
        self.log("test/accuracy", right, batch_size=len(batch[1]))

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        """Return AdamW over the trainable parameters, and a cosine schedule."""
        learning = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main(root: Path, epochs: int) -> None:
    """Train the head, and print the accuracies of the best epoch."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    L.seed_everything(0)
    batches = loaders(root)
    classes = len(batches["train"].dataset.classes)  # type: ignore[attr-defined]
    module = Module(classes, epochs * len(batches["train"]), frozen=True)
    with tempfile.TemporaryDirectory() as folder:
        kept = ModelCheckpoint(folder, monitor="val/accuracy", mode="max")
        settings = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = L.Trainer(max_epochs=epochs, callbacks=[kept], **settings)  # type: ignore[arg-type]
        trainer.fit(module, batches["train"], batches["val"])
        best = float(kept.best_model_score or 0)
        trainer.test(module, batches["test"], ckpt_path="best", verbose=False)
        test = float(trainer.callback_metrics["test/accuracy"])
    sys.stdout.write(json.dumps({"val": best, "test": test}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
