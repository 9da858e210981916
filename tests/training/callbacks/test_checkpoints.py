"""Which epoch is the best, and what the checkpoint callback leaves in its folder."""

import csv
from pathlib import Path

import pytest
from torchmetrics.classification import MulticlassAccuracy

from graft.errors import UserError
from tests.conftest import MakeConfig, run_checkpoint
from tests.conftest import trained as train


def validations(run: Path, name: str) -> list[float]:
    """A logged metric of every epoch."""
    with (run / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


# Metrics as a person may add them: a calibration error, and one that is unclear.
MORE = (
    "+task.metrics.ece._target_=torchmetrics.classification.MulticlassCalibrationError",
    "+task.metrics.unclear._target_=tests.training.callbacks.test_checkpoints.Unclear",
)


class Unclear(MulticlassAccuracy):
    """A metric that does not say which direction is better."""

    higher_is_better = None  # type: ignore[assignment]


def test_the_best_epoch_by_a_metric_whose_lower_values_are_better_is_the_lowest(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    metrics = train(make_config(*MORE, "monitor=val/ece", "trainer.max_epochs=4", "optimizer.lr=0.01"))
    measured = validations(tmp_path / "run", "val/ece")
    assert len(set(measured)) > 1
    assert metrics["val/ece"] == pytest.approx(min(measured))


def test_a_metric_without_a_direction_needs_monitor_mode(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"monitor=val/unclear: .* write monitor_mode=min or monitor_mode=max"
    ):
        train(make_config(*MORE, "monitor=val/unclear"))
    metrics = train(make_config(*MORE, "monitor=val/unclear", "monitor_mode=min", "trainer.max_epochs=4"))
    assert metrics["val/unclear"] == pytest.approx(min(validations(tmp_path / "run", "val/unclear")))


def test_a_metric_that_nobody_measures_is_refused_with_the_choices(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r"val/nothing is not measured.* val/loss, val/accuracy"):
        train(make_config("monitor=val/nothing"))


def test_equal_scores_go_to_the_lower_loss(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    metrics = train(make_config("trainer.max_epochs=4", "optimizer.lr=1e-5", "scheduler=none"))
    scores, losses = (validations(tmp_path / "run", f"val/{name}") for name in ("accuracy", "loss"))
    assert len(set(scores)) == 1
    assert losses.index(min(losses)) > 0
    assert metrics["best_epoch"] == losses.index(min(losses)) + 1
    assert "highest val/accuracy, then lowest val/loss, then the latest epoch" in caplog.text


def test_equal_scores_and_losses_go_to_the_later_epoch(make_config: MakeConfig, tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=3", "optimizer=sgd", "optimizer.lr=1e-30"]
    assert train(make_config(*settings))["best_epoch"] == 3
    assert run_checkpoint(tmp_path / "run", "best")["epoch"] == 2
    assert train(make_config(*settings, "monitor=val/loss", run="by_loss"))["best_epoch"] == 3


def test_a_run_removes_what_a_killed_one_has_left_in_its_folder(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    left = tmp_path / "run" / "checkpoints" / ".last.ckpt.ab12cd"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    train(make_config("trainer.max_epochs=1"))
    assert sorted(file.name for file in left.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
