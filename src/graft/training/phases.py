"""Fits phase after phase: what is trainable changes, the Trainer and its counts go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch

from graft.data.module import ImageDataModule
from graft.data.sample import SPLITS
from graft.features.cache import FeatureCache  # room: features
from graft.models.checkpoints import read_checkpoint
from graft.training.caching import cached_features, solve  # room: features
from graft.training.lightning_internals import end_after, time_is_up
from graft.training.module import Position, TransferModule
from graft.training.rate_search import choose_learning_rate
from graft.training.resuming import Resumption
from graft.training.summary import phase_summary

log = logging.getLogger(__name__)

WORTH_SHARING = 10_000_000  # multiplications of a step, about a millisecond of one thread


def fit_phases(
    trainer: L.Trainer,
    module: TransferModule,
    data: ImageDataModule,
    resumption: Resumption | None,
    searches_rate: bool,
    cache: FeatureCache,  # room: features
) -> None:
    """Fit phase after phase with one Trainer, so that epochs, steps and logs go on counting.

    Where only the head is trainable, the backbone runs once and the head reads its cached features. The
    first phase may begin with a search for its learning rate. A resumed run begins in its checkpoint's
    phase; in its first fit, Lightning restores weights, optimizer, and the counts of epochs and steps.
    """
    first = resumption.position.phase if resumption else 0
    for number, phase in enumerate(module.phases[first:], start=first):
        resumed = resumption if number == first else None
        position = Position(number, trainer.current_epoch, trainer.global_step)
        module.begin(resumed.position if resumed else position)
        if resumed:  # For the cached features: Lightning itself loads the weights when the fit begins.
            module.load_state_dict(read_checkpoint(resumed.path)["state_dict"])
        # Where another phase follows, the network that is tested may have another backbone.
        splits = SPLITS if number == len(module.phases) - 1 else SPLITS[:2]
        data.features = cached_features(trainer, module, data, cache, splits)  # room: features
        if phase.solved_l2 is not None and resumed is None:  # room: features
            solve(module, data)  # room: features
        summary = phase_summary(phase, number + 1, len(module.phases), module.classifier, module.norm)
        log.info(summary)
        if searches_rate and number == 0:
            module.learning_rates = choose_learning_rate(trainer, module, data)
        planned_end = module.position.phase_began_at + phase.epochs
        end_after(trainer, resumed.next_epoch if resumed and resumed.stopped_early else planned_end)
        with threads_that_pay(module, data, trainer.strategy.root_device.type):
            trainer.fit(module, datamodule=data, ckpt_path=str(resumed.path) if resumed else None)
        if 0 < trainer.max_steps <= trainer.global_step or time_is_up(trainer):
            return


@contextmanager
def threads_that_pay(module: TransferModule, data: ImageDataModule, device: str) -> Iterator[None]:
    """Let one thread compute while only a small head is trained, from cached features on a CPU.

    Its steps are too small to be shared: on a busy machine the threads would mostly wait for each other.
    """
    threads = torch.get_num_threads()
    if data.features and device == "cpu":
        numbers = sum(parameter.numel() for parameter in module.classifier.head.parameters())
        if numbers * data.batch_size < WORTH_SHARING:
            torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
