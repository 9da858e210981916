"""Every argument of Lightning's Trainer is honoured or refused with what to write instead."""

import csv
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import Timer
from omegaconf import OmegaConf

from graft.cli.checking import validated
from graft.data.sample import Sample
from graft.errors import UserError
from graft.inference.evaluation import evaluate, labelled_images
from graft.inference.model import Model
from graft.inference.runtimes import load_model
from graft.models.freezing import HEAD, Phase
from graft.settings import TargetSettings
from graft.tasks.multiclass import Multiclass
from graft.training.lightning_internals import time_is_up
from graft.training.trainer_settings import REFUSED, TrainerSettings
from tests.conftest import PROJECT, MakeConfig
from tests.conftest import trained as train


def test_every_argument_of_lightnings_trainer_is_decided_on() -> None:
    arguments = [name for name in inspect.signature(L.Trainer).parameters if name != "self"]
    taken = TrainerSettings.model_fields.keys() - TargetSettings.model_fields.keys()
    assert sorted([*taken, *REFUSED]) == sorted(arguments)


def checked(**options: Any) -> TrainerSettings:
    """The settings of `trainer=auto` with these options, checked."""
    settings: Any = OmegaConf.to_container(OmegaConf.load(PROJECT / "configs" / "trainer" / "auto.yaml"))
    return validated(TrainerSettings, settings | options, "trainer.")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"overfit_batches": 1}, r"overfit_batches=1: .*data\.limit=32"),
        ({"overfit_batches": 0.5}, "overfit_batches"),
        ({"val_check_interval": 0.5}, "val_check_interval"),
        ({"val_check_interval": 1}, "val_check_interval"),
        ({"check_val_every_n_epoch": 2}, "check_val_every_n_epoch"),
        ({"reload_dataloaders_every_n_epochs": 1}, "reload_dataloaders"),
        ({"barebones": True}, "barebones"),
        ({"enable_progress_bar": True}, r".*callbacks\.progress"),
        ({"enable_checkpointing": False}, "enable_checkpointing"),
        ({"use_distributed_sampler": True}, "use_distributed_sampler"),
        ({"default_root_dir": "there"}, r".*hydra\.run\.dir"),
        ({"fast_dev_run": True}, "fast_dev_run=True: .*trainer=debug"),
        ({"limit_train_batches": 0}, "limit_train_batches=0"),
        ({"limit_val_batches": 0.0}, "limit_val_batches=0"),
        ({"strategy": "ddp_spawn"}, "strategy=ddp_spawn: write auto, ddp"),
        ({"strategy": "fsdp"}, "strategy=fsdp"),
        ({"devices": 0}, "devices=0"),
        ({"devices": "many"}, "devices=many"),
    ],
)
def test_what_graft_would_defeat_is_refused(options: Mapping[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=rf"trainer\.{expected}"):
        checked(**options)


def test_lightnings_defaults_are_taken() -> None:
    checked(overfit_batches=0.0, val_check_interval=1.0, barebones=False)


def test_a_part_of_the_test_batches_leaves_a_row_for_each_tested_image(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    few = ["trainer=debug", "data.batch_size=2", "trainer.limit_test_batches=1"]
    few += ["report=true"]  # room: reporting
    metrics = train(make_config(*few, board=True))
    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert metrics["test/accuracy"] == pytest.approx(right / 2)


def test_a_run_whose_time_is_up_begins_no_other_phase(make_config: MakeConfig) -> None:
    trainer = L.Trainer(max_time={"hours": 1}, logger=False, enable_checkpointing=False)
    assert not time_is_up(trainer)
    next(found for found in trainer.callbacks if isinstance(found, Timer))._duration = 0.0  # type: ignore[attr-defined]
    assert time_is_up(trainer)
    with pytest.raises(UserError, match=r"no epoch was finished.*trainer\.max_time"):
        train(make_config("+trainer.max_time=00:00:00:00", "freeze=1", "trainer.max_epochs=5"))


def labelled(images: Path, model: Model, split: str, splits: Path) -> list[Sample]:
    settings = {"_target_": "graft.data.sources.folder.Folder", "root": str(images)}
    return labelled_images(settings, model.task, split, splits)[1]


def phases_that_get_worse(named: Mapping[str, Sequence[str]], freeze: Any, max_epochs: int) -> list[Phase]:
    """A schedule whose best epoch is its first, of another backbone than the last phase's."""
    everything = tuple(named)
    return [
        Phase("everything", everything, 1),
        Phase("everything", everything, 1, rate_factor=600.0),
        Phase("head", (HEAD,), 1, rate_factor=1e-9),
    ]


def test_the_test_is_of_the_best_network_where_the_last_phase_has_another_backbone(
    make_config: MakeConfig, tmp_path: Path, images: Path
) -> None:
    schedule = f"{__name__}.phases_that_get_worse"
    settings = (f"++finetuning.schedule._target_={schedule}", "optimizer=sgd", "optimizer.lr=0.05")
    metrics = train(make_config(*settings, "monitor=val/loss"))
    assert metrics["best_epoch"] == 1, "the schedule does not get worse: the test shows nothing"
    best = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    tested = labelled(images, best, "test", tmp_path / "run" / "splits.csv")
    found = evaluate(best, images, tested, 4).metrics
    assert metrics["test/loss"] == pytest.approx(found["loss"], rel=1e-4)


def test_the_temperature_is_that_of_the_best_epochs_validation(
    make_config: MakeConfig, tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ("freeze=1", "callbacks=ema", "calibrate=true", "optimizer.lr=0.001", "trainer.max_epochs=3")
    with caplog.at_level(logging.WARNING):
        metrics = train(make_config(*settings))
    splits = tmp_path / "run" / "splits.csv"
    best = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert isinstance(best.task, Multiclass)
    temperature = best.task.temperature
    for split in ("val", "test"):
        found = evaluate(best, images, labelled(images, best, split, splits), 4).metrics
        assert metrics[f"{split}/ece"] == pytest.approx(found["ece"], abs=1e-4)
        if temperature != 1.0:
            assert metrics[f"{split}/ece_calibrated"] == pytest.approx(found["ece_calibrated"], abs=1e-4)
    assert metrics["temperature"] == temperature
