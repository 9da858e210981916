"""The time that a recipe has, and how fast this machine is with these images and this network."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import lightning as L
import torch
from torch import nn

from graft.data.decoded import Shrinking
from graft.data.module import ImageDataModule
from graft.models.classifier import Classifier
from graft.models.folding import FoldedTraining
from graft.models.freezing import Phase, apply_phase, hold_frozen, named_stages

UNITS = {"s": 1, "m": 60, "h": 3600}  # seconds
ENDING = 10.0  # seconds that drawing the report and ending Python take, at least ...
COMPARING = 10.0  # seconds that comparing heads takes, of some thousand images; measuring the pace takes less
MOST_TIMED = 16  # images that show the pace
# A budget of `auto`: validation losses of fine-tuned networks rise from about the seventh epoch on.
ENOUGH_EPOCHS = 6
REST = 1.5  # times as long, with heads and averages
MOST = 3600.0
FEWEST_STEPS = 200  # 14 to 112 validated no better than a frozen backbone (docs/results.md, candidates).
REFIT = 5.0  # seconds that fitting the best head again takes, besides solving it
BETWEEN = 1.0  # seconds that an epoch takes besides: loaders, checkpoints
now = time.time


class Budget:
    """The time that a recipe has, counted from `began`, in seconds since 1970.

    `take_enough` sets that of `auto`, once the pace is known.
    """

    def __init__(self, time_budget: str, began: float | None = None) -> None:
        self.began, self.is_auto = now() if began is None else began, time_budget == "auto"
        self.ending = max(ENDING, now() - self.began)  # ... or as long as starting took on this machine.
        self.seconds = MOST if self.is_auto else float(time_budget[:-1]) * UNITS[time_budget[-1]]

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.began + self.seconds - now()

    @property
    def is_nearly_over(self) -> bool:
        """Whether too little is left to compare anything."""
        return self.left() < self.ending + COMPARING

    def take_enough(self, pace: "Pace") -> None:
        """Set the budget to what a few epochs of fine-tuning need, with the rest of the recipe."""
        epochs = max(ENOUGH_EPOCHS, pace.fewest_epochs)
        needed = now() - self.began + pace.before_fit + REST * epochs * pace.epoch + pace.after_fit + REFIT
        self.seconds = min(needed, MOST)


@dataclass(frozen=True)
class Pace:
    """Seconds that this machine takes for an image, and with them for a split."""

    reading: float
    decoding: float  # before it is read for the first time, where `data.cache` keeps it decoded
    forward: float
    training: float  # forward and backward
    images: Mapping[str, int]  # of each split
    batch_size: int
    batches_per_step: int  # of the optimizer
    ending: float  # for report and exit

    def evaluate(self, split: str) -> float:
        return self.images[split] * (self.reading + self.forward)

    @property
    def before_fit(self) -> float:
        """Seconds in which the images of the fit are decoded, where they are cached so."""
        return (self.images["train"] + self.images["val"]) * self.decoding

    @property
    def epoch(self) -> float:
        return self.images["train"] * (self.reading + self.training) + self.evaluate("val") + BETWEEN

    def epochs(self, steps: int) -> int:
        """Return how many epochs have at least so many steps of the optimizer."""
        batches = math.ceil(self.images["train"] / self.batch_size)
        return math.ceil(steps / math.ceil(batches / self.batches_per_step))

    @property
    def fewest_epochs(self) -> int:
        """Fine-tuning with fewer rarely gains anything."""
        return self.epochs(FEWEST_STEPS)

    @property
    def after_fit(self) -> float:
        return self.images["test"] * self.decoding + self.evaluate("test") + self.ending


def measured_pace(
    classifier: Classifier, data: ImageDataModule, loss: nn.Module, trainer: L.Trainer, ending: float
) -> Pace:
    """Return the pace of a few images.

    Forward pass and training step are timed twice; the first, a warm-up, is not counted. Reading is counted
    as if nothing else went on, since workers share the processors with the network. Weights and statistics
    stay as they are; all but the norms is trainable afterwards.
    """
    device, samples = trainer.strategy.root_device, data.images.samples
    count = min(MOST_TIMED, data.batch_size, len(samples["train"]))
    decoded, decoding = decoded_images(data, count)
    dataset = data.dataset("train", augmented=True, decoded=decoded)
    times = [now()]
    images, targets = (
        torch.stack(part).to(device) for part in zip(*(dataset[i, i] for i in range(count)), strict=True)
    )
    times.append(now())
    everything = Phase("everything", tuple(named_stages(classifier)), 1)
    apply_phase(classifier.to(device), everything, norm="frozen")
    hold_frozen(classifier.train(), norm="frozen")
    forward, loss = FoldedTraining(classifier), copy.deepcopy(loss).to(device)  # Its class weights, too.
    for is_training in (False, False, True, True):
        with torch.set_grad_enabled(is_training), trainer.precision_plugin.forward_context():
            value = loss(forward(images)[0].float(), targets)
        if is_training:
            value.backward()
        value.item()  # Waits for a GPU.
        times.append(now())
    classifier.zero_grad(set_to_none=True)
    reading, _, forwards, _, training = ((later - earlier) / count for earlier, later in pairwise(times))
    return Pace(
        reading=reading,
        decoding=decoding,
        forward=forwards,
        training=training,
        images={split: len(held) for split, held in samples.items()},
        batch_size=data.batch_size,
        batches_per_step=trainer.accumulate_grad_batches,
        ending=ending,
    )


def decoded_images(data: ImageDataModule, count: int) -> tuple[Any, float]:
    """Return the first training images as `data.cache` keeps them, and the seconds that one takes to decode.

    Without a cache, training reads files: None and 0.
    """
    if data.cache == "none":
        return None, 0.0
    shrink, began = Shrinking(data.preprocessing, data.augmentation), now()
    images = [shrink(f"{data.images.root}/{sample.path}") for sample in data.images.samples["train"][:count]]
    return images, (now() - began) / count
