"""The best epoch is the best by what the metric itself calls better; equal epochs are told apart."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torchmetrics import MeanAbsoluteError, MetricCollection

from graft.errors import UserError
from graft.metrics import Measurements
from graft.models.backbones import build_backbone, build_head
from graft.models.checkpoints import remove_leftovers
from graft.models.classifier import Classifier
from graft.training.callbacks.checkpoints import BestAndLast
from graft.training.callbacks.early_stopping import StopWhenStalled
from graft.training.module import TransferModule
from graft.training.monitoring import direction
from graft.training.schedulers import constant


@pytest.fixture(scope="module")
def module() -> TransferModule:
    backbone = build_backbone("timm", "test_efficientnet", None)
    classifier = Classifier(backbone, build_head(backbone, 2))
    return TransferModule(classifier, 2, torch.optim.SGD, constant, 0.1)


def best_epoch(module: L.LightningModule, folder: Path, monitor: str, epochs: list[dict[str, float]]) -> int:
    """Let the callback see the validation metrics of some epochs; return the best one, from 0."""
    callback = BestAndLast(str(folder), monitor)
    saved: list[Path] = []
    for number, metrics in enumerate(epochs):
        measured = {f"val/{name}": torch.tensor(value) for name, value in metrics.items()}
        trainer: Any = SimpleNamespace(
            callback_metrics=measured, current_epoch=number, save_checkpoint=saved.append
        )
        callback.on_train_epoch_end(trainer, module)
    return callback.best_epoch


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [("val/loss", "min"), ("val/accuracy", "max"), ("val/f1", "max"), ("val/auroc", "max")],
)
def test_the_direction_is_the_metrics_own(module: TransferModule, monitor: str, expected: str) -> None:
    assert direction(module, monitor, "auto") == expected


def test_a_metric_where_lower_is_better_is_known_by_what_it_says_not_by_its_name(tmp_path: Path) -> None:
    measured = Measurements(2, "val/")
    measured.scores = MetricCollection({"mae": MeanAbsoluteError()}).clone(prefix="val/")
    module = TransferModule.__new__(TransferModule)
    nn.Module.__init__(module)
    module.val_measured = measured
    epochs = [{"mae": 0.5, "loss": 1.0}, {"mae": 0.1, "loss": 1.0}, {"mae": 0.3, "loss": 1.0}]
    assert best_epoch(module, tmp_path, "val/mae", epochs) == 1


def test_a_metric_that_says_nothing_needs_the_mode(module: TransferModule) -> None:
    with pytest.raises(UserError, match="monitor_mode=min or monitor_mode=max"):
        direction(module, "val/cost", "auto")
    assert direction(module, "val/cost", "min") == "min"
    with pytest.raises(UserError, match="monitor_mode=most"):
        direction(module, "val/cost", "most")


def test_equal_epochs_are_told_apart_by_the_loss_then_the_later_is_the_best(
    module: TransferModule, tmp_path: Path
) -> None:
    losses = [0.38, 0.1, 0.02, 0.02, 0.05]
    epochs = [{"accuracy": 1.0, "loss": loss} for loss in losses]
    assert best_epoch(module, tmp_path, "val/accuracy", epochs) == 3
    assert best_epoch(module, tmp_path, "val/loss", [{"loss": loss} for loss in losses]) == 3
    assert best_epoch(module, tmp_path, "val/accuracy", [*epochs, {"accuracy": 0.9, "loss": 0.0}]) == 3


@pytest.mark.parametrize("monitor", ["val/loss", "val/auroc"])
def test_early_stopping_knows_the_direction_and_begins_anew_in_every_phase(
    module: TransferModule, monitor: str
) -> None:
    # Scores that only ever improve never stop a run; the same ones backwards do at once.
    falling = [0.9, 0.7, 0.5, 0.3]
    trainer: Any = SimpleNamespace(check_val_every_n_epoch=1, val_check_interval=1.0)
    callback = StopWhenStalled(monitor, patience=2, min_delta=0.01)
    for scores, stops in ((falling, monitor != "val/loss"), (falling[::-1], monitor == "val/loss")):
        callback.setup(trainer, module, "fit")
        stopped = [callback._evaluate_stopping_criteria(torch.tensor(score))[0] for score in scores]
        assert any(stopped) == stops


def test_files_half_written_by_a_killed_run_are_removed_and_those_of_a_live_one_stay(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-S", "-c", "import os; print(os.getpid())"], capture_output=True)
    dead, alive = int(gone.stdout), os.getpid()
    kept = [f".last.ckpt.x7.{alive}", "last.ckpt", ".hidden", "best.ckpt"]
    for name in (f".last.ckpt.a1.{dead}", f".best_validation.pt.b2.{dead}", *kept):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)
