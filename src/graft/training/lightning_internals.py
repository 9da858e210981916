"""Parts of Lightning 2.6 and torch 2.14 that their documentation does not promise.

tests/training/test_lightning_internals.py fails where a version changes them.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import lightning as L
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import RunningStage
from torch.optim.lr_scheduler import LRScheduler

Kind = TypeVar("Kind", bound=L.Callback)


def end_after(trainer: L.Trainer, epochs: int) -> None:
    """Let the next fit end after so many epochs of all phases, or when all fits have taken `max_time`."""
    trainer.fit_loop.max_epochs = epochs
    for timer in callbacks_of(trainer, Timer):  # By itself it forgets the fits before, and stands still.
        timer.load_state_dict(timer.state_dict())
        timer._start_time[RunningStage.TRAINING] = timer._end_time[RunningStage.TRAINING] = None


def is_stopping(trainer: L.Trainer) -> bool:
    """Return whether the fit was told to stop, and `min_epochs` and `min_steps` allow it to."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early


def callbacks_of(trainer: L.Trainer, kind: type[Kind]) -> Iterator[Kind]:
    every: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return (callback for callback in every if isinstance(callback, kind))


def note_learning_rates(scheduler: LRScheduler, rates: Sequence[float]) -> None:
    """Set what `get_last_lr` returns."""
    scheduler._last_lr = list(rates)


def time_is_up(trainer: L.Trainer) -> bool:
    """Return whether `trainer.max_time` has passed: it ends the run, not only the phase."""
    left = [timer.time_remaining() for timer in callbacks_of(trainer, Timer)]
    return any(seconds is not None and seconds <= 0 for seconds in left)
