"""Early stopping begins anew with every phase."""

import csv
from pathlib import Path

import lightning as L
import pytest
import torch

from graft.tasks.measurements import Measurements
from graft.training.callbacks.early_stopping import StopWhenStalled
from tests.conftest import MakeConfig, run_checkpoint, task_of
from tests.conftest import trained as train


def test_a_new_phase_need_not_beat_the_best_of_the_phase_before(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["freeze=1", "trainer.max_epochs=2", "optimizer=sgd", "optimizer.lr=2", "scheduler=none"]
    train(make_config(*settings, "callbacks=early_stopping", "monitor=val/loss"))
    with (tmp_path / "run" / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row.get("val/loss")]
    assert losses[1] > losses[0]
    callbacks = run_checkpoint(tmp_path / "run")["callbacks"]
    state = callbacks["StopWhenStalled{'monitor': 'val/loss', 'mode': 'min'}"]
    assert float(state["best_score"]) == losses[1]
    assert state["wait_count"] == 0


@pytest.mark.parametrize("monitor", ["val/loss", "val/auroc"])
def test_early_stopping_knows_which_direction_is_better(monitor: str) -> None:
    module = L.LightningModule()
    module.val_measured = Measurements(task_of("multiclass", ("a", "b")), "val/")
    # Scores that only ever improve never stop a run; the same ones backwards do at once.
    falling = [0.9, 0.7, 0.5, 0.3]
    for scores, stops in ((falling, monitor != "val/loss"), (falling[::-1], monitor == "val/loss")):
        callback = StopWhenStalled(monitor, patience=2, min_delta=0.0)
        callback.setup(L.Trainer(logger=False, barebones=True), module, "fit")
        decisions = [callback._evaluate_stopping_criteria(torch.tensor(score))[0] for score in scores]
        assert (True in decisions) == stops
