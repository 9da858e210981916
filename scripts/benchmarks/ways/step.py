"""Fine-tuning a network on one batch in memory: images per second of one way, after a warm-up."""

import json
import logging
import sys
import time
import warnings
from functools import partial

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.ways.network import LEARNING_RATE, pretrained, source_of
from benchmarks.ways.plain_lightning import Module
from graft.memory import keep_freed_memory
from graft.models.backbones import build_backbone, build_head
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, named_stages
from graft.tasks.multiclass import Multiclass
from graft.training.module import Position, TransferModule
from graft.training.optimizers import LearningRates
from graft.training.schedulers import cosine

BATCH, WARM_UP, STEPS = 32, 3, 12


class Clock(L.Callback):
    """Takes the time from the end of the warm-up to the last step."""

    began = seconds = 0.0

    def on_train_batch_end(self, *arguments: object) -> None:
        """Note the time."""
        batch_idx = arguments[-1]
        if batch_idx == WARM_UP - 1:
            self.began = time.perf_counter()
        elif batch_idx == WARM_UP + STEPS - 1:
            self.seconds = time.perf_counter() - self.began


def bare(name: str, norm: str, channels_last: bool) -> float:
    """Return the seconds of the steps in a bare loop."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    network = pretrained(2, name).train().to(memory_format=memory_format)
    for module in network.modules() if norm == "frozen" else ():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    images, labels = batch()
    images = images.contiguous(memory_format=memory_format)
    began = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            began = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - began


def fitted(module: L.LightningModule) -> float:
    """Return the seconds of the steps in Lightning's Trainer."""
    clock = Clock()
    trainer = L.Trainer(
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    # The batch comes as it is: loading is measured elsewhere.
    trainer.fit(module, DataLoader(Repeated(), batch_size=None))
    return clock.seconds


def graft(name: str, norm: str) -> TransferModule:
    """Return Graft's module in the phase in which everything is trainable."""
    backbone = build_backbone(source_of(name), name, weights=None)
    classifier = Classifier(backbone, build_head(backbone, 2))
    module = TransferModule(
        classifier,
        Multiclass({}, columns=("a", "b")),
        torch.nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.AdamW, lr=LEARNING_RATE),
        scheduler=partial(cosine, warmup=0.0),
        learning_rates=LearningRates(LEARNING_RATE),
        phases=[Phase("everything", tuple(named_stages(classifier)), 1)],
        norm=norm,
    )
    module.begin(Position())
    return module


class Repeated(Dataset[tuple[Tensor, Tensor]]):
    """The same batch for every step."""

    def __init__(self) -> None:
        self.batch = batch()

    def __len__(self) -> int:
        return WARM_UP + STEPS

    def __getitem__(self, _: int) -> tuple[Tensor, Tensor]:
        return self.batch


def batch() -> tuple[Tensor, Tensor]:
    """Return the images and labels of every step."""
    return torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH) % 2


def main(way: str, name: str, norm: str) -> None:
    """Print the images per second of a way; `norm` is train or frozen."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    if way.endswith("memory kept"):
        keep_freed_memory()
    if way.startswith("bare loop"):
        seconds = bare(name, norm, "channels last" in way)
    elif way == "plain Lightning":
        seconds = fitted(Module(2, STEPS, frozen=False, name=name))
    else:
        keep_freed_memory()
        seconds = fitted(graft(name, norm))
    sys.stdout.write(json.dumps({"speed": BATCH * STEPS / seconds}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
