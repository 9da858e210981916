"""The parts of Lightning and torch that are not promised still do what Graft uses them for."""

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.optim.lr_scheduler import LambdaLR

from graft.training.lightning_internals import callbacks_of, end_after, note_learning_rates


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
