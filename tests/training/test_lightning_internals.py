"""The parts of Lightning and torch that are not promised still do what Graft uses them for."""

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.trainer.states import RunningStage
from torch.optim.lr_scheduler import LambdaLR

from graft.training.lightning_internals import (
    callbacks_of,
    end_after,
    is_stopping,
    note_learning_rates,
    time_is_up,
)


def quiet(**options: Any) -> L.Trainer:
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(accelerator="cpu", limit_train_batches=1, limit_val_batches=0, **silent, **options)


@pytest.mark.filterwarnings("ignore")
def test_a_fit_ends_after_the_epoch_that_it_is_told_and_the_next_goes_on_counting() -> None:
    trainer, module = quiet(enable_model_summary=False), BoringModel()
    for end in (1, 3):
        end_after(trainer, end)
        trainer.fit(module)
        assert trainer.current_epoch == end
    assert trainer.global_step == 3


def test_callbacks_are_found_by_their_kind() -> None:
    timer = Timer()
    assert list(callbacks_of(quiet(callbacks=[timer]), Timer)) == [timer]


def test_noted_learning_rates_are_what_the_scheduler_tells() -> None:
    scheduler = LambdaLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), lambda _: 1.0)
    note_learning_rates(scheduler, [0.25])
    assert scheduler.get_last_lr() == [0.25]


@pytest.mark.filterwarnings("ignore")
def test_max_time_counts_over_all_fits() -> None:
    timer = Timer(duration={"seconds": 1000})
    trainer, module = quiet(callbacks=[timer], enable_model_summary=False), BoringModel()
    end_after(trainer, 1)
    trainer.fit(module)
    timer._start_time[RunningStage.TRAINING] -= 600  # type: ignore[operator]  # The fit took 10 minutes.
    end_after(trainer, 2)
    trainer.fit(module)
    assert 600 <= timer.time_elapsed() < 1000
    timer._start_time[RunningStage.TRAINING] -= 600  # type: ignore[operator]
    assert time_is_up(trainer)
    end_after(trainer, 3)
    trainer.fit(module)
    assert trainer.current_epoch == 2


@pytest.mark.filterwarnings("ignore")
def test_a_fit_that_was_told_to_stop_is_not_stopping_before_its_fewest_epochs() -> None:
    class Stop(L.Callback):
        def __init__(self) -> None:
            self.seen: list[bool] = []

        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            trainer.should_stop = True
            self.seen.append(is_stopping(trainer))

    stop = Stop()
    quiet(callbacks=[stop], enable_model_summary=False, min_epochs=2, max_epochs=4).fit(BoringModel())
    assert stop.seen == [False, True]
