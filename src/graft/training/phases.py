"""Fits phase after phase: what learns changes, the Trainer and its counts go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer

from graft.data.module import ImageFolderDataModule
from graft.data.splits import SPLITS
from graft.errors import UserError
from graft.features.cache import FeatureCache
from graft.features.dataset import FeatureDataset
from graft.features.head_solver import solve_head
from graft.models.freezing import Phase
from graft.reporting.board.start import writer_of
from graft.training.callbacks.averaging import ExponentialMovingAverage
from graft.training.module import TransferModule
from graft.training.rate_search import choose_learning_rate
from graft.training.resuming import Resumption
from graft.training.summary import phase_summary

log = logging.getLogger(__name__)

WORTH_SHARING = 10_000_000  # multiplications of a step, about a millisecond of one thread


def fit_phases(
    trainer: L.Trainer,
    module: TransferModule,
    data: ImageFolderDataModule,
    phases: list[Phase],
    resumption: Resumption | None,
    cache: FeatureCache,
    searches_rate: bool,
) -> None:
    """Fit phase after phase with one Trainer, so that epochs, steps and logs go on counting.

    What comes before the first part that learns runs once, where that can be and pays, and the rest learns
    from what it made of the images. The first phase may begin with a search for its learning rate. A
    resumed run begins in its checkpoint's phase; Lightning restores the rest.
    """
    first = resumption.phase if resumption else 0
    for number, phase in enumerate(phases[first:], start=first):
        resumed = resumption if number == first else None
        # After another phase, the backbone that is tested is not the one that the features are of.
        splits = SPLITS if number == len(phases) - 1 else ("train", "val")
        module.begin(phase)
        served = may_be_cached(trainer, phases[:number], phase, cache) and cache.serves(module, trainer)
        data.features, tail = cache.features(module, data, trainer, phase, splits) if served else ({}, None)
        module.enter_at(tail)
        if phase.is_solved and resumed is None:
            solve(module, data)
        announce(phase_summary(phase, number + 1, len(phases), module), trainer)
        if searches_rate and number == 0:
            module.use_learning_rate(choose_learning_rate(trainer, module, data))
        began_at = resumed.phase_began_at if resumed else trainer.current_epoch
        began_at_step = resumed.phase_began_at_step if resumed else trainer.global_step
        module.position = {"phase": number, "phase_began_at": began_at, "phase_began_at_step": began_at_step}
        end = resumed.next_epoch if resumed and resumed.phase_is_over else began_at + phase.epochs
        trainer.fit_loop.max_epochs = end
        module.planned_epochs = began_at + sum(later.epochs for later in phases[number:])
        with threads_that_pay(module, data, trainer.strategy.root_device.type):
            trainer.fit(module, datamodule=data, ckpt_path=str(resumed.path) if resumed else None)
        if 0 < trainer.max_steps <= trainer.global_step or time_is_up(trainer):
            return


def may_be_cached(trainer: L.Trainer, before: list[Phase], phase: Phase, cache: FeatureCache) -> bool:
    """Return whether what the frozen layers compute is the same for training, validation and checkpoint.

    With an average of the weights it is not where layers that are frozen now were trainable before: their
    average, which is validated and saved, is not what training goes on from. Raises UserError where
    `features.cache=true` asks for it all the same.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averages = any(isinstance(callback, ExponentialMovingAverage) for callback in callbacks)
    if not averages or all(set(earlier.learns) <= set(phase.learns) for earlier in before):
        return True
    if cache.cache is True:
        raise UserError(
            "features.cache=true: callbacks=ema averages layers that are trainable first and frozen later: "
            "their features are not those of the network that is saved; write features.cache=auto."
        )
    return False


def time_is_up(trainer: L.Trainer) -> bool:
    """Return whether `trainer.max_time` has passed: it ends the run, not only the phase."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    left = [callback.time_remaining() for callback in callbacks if isinstance(callback, Timer)]
    return any(seconds is not None and seconds <= 0 for seconds in left)


@contextmanager
def threads_that_pay(module: TransferModule, data: ImageFolderDataModule, device: str) -> Iterator[None]:
    """Let one thread compute while only a small head learns, from stored features on a CPU.

    Its steps are too small to be shared: on a busy machine the threads would mostly wait for each other.
    """
    threads = torch.get_num_threads()
    if module.tail is not None and module.tail.is_head and device == "cpu":
        numbers = sum(parameter.numel() for parameter in module.classifier.head.parameters())
        if numbers * data.batch_size < WORTH_SHARING:
            torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def solve(module: TransferModule, data: ImageFolderDataModule) -> None:
    """Fit the head to the stored features at once; UserError where there are none."""
    if not data.features:
        raise UserError(
            "head.solver=lbfgs fits the head to stored features, which these settings do not allow; "
            "features.cache=true says why."
        )
    head = module.classifier.head
    train, val = data.features["train"], data.features["val"]
    assert isinstance(head, torch.nn.Linear)
    assert isinstance(train, FeatureDataset)
    assert isinstance(val, FeatureDataset)
    solve_head(head, train, val, module.label_smoothing, module.class_weights)


def announce(summary: str, trainer: L.Trainer) -> None:
    """Say what begins, on the console and in TensorBoard."""
    log.info(summary)
    writer = writer_of(trainer)
    if writer is not None:
        writer.add_text("phase", summary, trainer.global_step)
