"""A run from the settings on: seeds, early ends, and what its checkpoints hold."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import timm
import torch
from lightning.pytorch.callbacks import Timer
from omegaconf import OmegaConf

from graft.data.images import open_rgb
from graft.data.labelled_images import read_labelled_images
from graft.data.transforms import Augmentation, evaluation_transform
from graft.errors import UserError
from graft.models.checkpoints import load_classifier
from graft.training.checks import refuse_idle_processes
from graft.training.run import train as record
from tests.conftest import STATE, MakeConfig, assert_equal, make_data_module, run_checkpoint, task_of
from tests.conftest import trained as train


def test_two_runs_with_one_seed_are_bit_identical_and_another_seed_is_not(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ("freeze=false", "trainer.max_epochs=1", "augmentation=standard")
    first = train(make_config(*settings, run="a"))
    second = train(make_config(*settings, "data.num_workers=2", run="b"))
    other = train(make_config(*settings, "seed=1", run="c"))
    for key in STATE:
        assert_equal(run_checkpoint(tmp_path / "a").get(key), run_checkpoint(tmp_path / "b").get(key), key)
    del first["seconds"], second["seconds"]
    assert first == second
    assert first["test/loss"] != other["test/loss"]


def test_a_checkpoint_is_enough_by_itself(make_config: MakeConfig, tmp_path: Path, images: Path) -> None:
    metrics = train(make_config("freeze=false", "head.hidden=8"))
    splits = (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8").splitlines()[1:]
    tested = [row.split(",") for row in splits if row.endswith("test")]
    shutil.move(images, tmp_path / "elsewhere")
    loaded = load_classifier(tmp_path / "run" / "checkpoints" / "best.ckpt")
    transform = evaluation_transform(loaded.preprocessing)
    batch = torch.stack([transform(open_rgb(tmp_path / "elsewhere" / path)) for path, _, _ in tested])
    with torch.inference_mode():
        logits = loaded.classifier(batch)
    labels = torch.tensor([loaded.task["columns"].index(name) for _, name, _ in tested])
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(metrics["test/accuracy"])
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert loss == pytest.approx(metrics["test/loss"], rel=1e-5)


def test_early_stopping_ends_a_run_before_its_last_epoch(make_config: MakeConfig) -> None:
    settings = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-9")
    assert train(make_config(*settings, "trainer.max_epochs=6"))["epoch"] == 2


def test_a_run_whose_accuracy_rises_is_not_stopped_early(make_config: MakeConfig) -> None:
    settings = ("callbacks=early_stopping", "callbacks.early_stopping.patience=2", "monitor=val/loss")
    assert train(make_config(*settings, "trainer.max_epochs=4", "optimizer.lr=0.001"))["epoch"] == 4


def test_a_diverged_run_ends_with_a_line_and_never_becomes_the_best(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"diverged: val/loss is (nan|inf).*Lower optimizer\.lr"):
        train(make_config("freeze=false", "optimizer=sgd", "optimizer.lr=1e30"))
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_max_steps_ends_the_phases_and_each_schedule_fits_its_own(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    # 16 training images, 4 a batch: 4 steps per epoch.
    settings = ("freeze=1", "trainer.max_epochs=4", "callbacks.lr_monitor.logging_interval=step")
    only_head = train(make_config(*settings, "trainer.max_steps=3", run="head"))
    assert only_head["parameters/trainable"] < only_head["parameters/total"]
    assert only_head["epoch"] == 1
    train(make_config(*settings, "trainer.max_steps=10", "scheduler.warmup=0", run="both"))
    schedule = run_checkpoint(tmp_path / "both")["lr_schedulers"][0]
    assert schedule["last_epoch"] == 6
    assert max(schedule["_last_lr"]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_trains_the_same_through_a_phase_change(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    # Adam would turn the last bits of a tiny gradient into whole steps.
    # One block of a transformer: the fewest kernels to compile.
    settings = ["model.name=test_vit", "+model.options.depth=1", "data.limit=4", "trainer.max_epochs=2"]
    settings += ["freeze=1", "optimizer=sgd", "optimizer.lr=0.1"]
    eager = train(make_config(*settings, run="eager"))
    keep = [
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        f"+callbacks.keep.folder={tmp_path}/compiled/checkpoints",
    ]
    compiled = train(make_config(*settings, *keep, "compile=true", run="compiled"))
    assert compiled["test/loss"] == pytest.approx(eager["test/loss"], rel=1e-3)
    expected, found = (run_checkpoint(tmp_path / run)["state_dict"] for run in ("eager", "compiled"))
    before = run_checkpoint(tmp_path / "compiled", "epoch1")["state_dict"]
    for name, value in expected.items():
        assert torch.allclose(found[name].float(), value.float(), atol=1e-4), name
        if name.endswith("weight"):
            assert not torch.equal(found[name], before[name]), f"{name} had no gradient"


@pytest.mark.parametrize("steps", [3, 6])
def test_a_run_that_max_steps_ends_is_validated_at_its_last_step(
    make_config: MakeConfig, tmp_path: Path, steps: int
) -> None:
    settings = ("trainer.max_epochs=4", f"trainer.max_steps={steps}", "scheduler=bit_hyperrule")
    train(make_config(*settings, "freeze=2", "optimizer.lr=0.1"))
    last = run_checkpoint(tmp_path / "run")
    assert last["global_step"] == steps
    with (tmp_path / "run" / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        validated = [int(row["step"]) for row in csv.DictReader(file) if row.get("val/loss")]
    assert validated[-1] == steps - 1


def test_an_epoch_that_time_cuts_short_has_its_own_training_metrics(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_step_6(timer: Timer, trainer: L.Trainer) -> None:  # The second of 4 in the second epoch.
        trainer.should_stop = trainer.global_step >= 6

    monkeypatch.setattr(Timer, "_check_time_remaining", stop_at_step_6)
    history = record(make_config("+trainer.max_time=00:01:00:00", "trainer.max_epochs=3")).history
    assert set(history["train/loss"]) == {1, 2}
    assert history["train/loss"][1] != history["train/loss"][2]


def test_checkpoints_elsewhere_than_where_a_resume_looks_are_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"callbacks\.checkpoint\.dirpath.*hydra\.run\.dir=DIR"):
        train(make_config(f"callbacks.checkpoint.dirpath={tmp_path}/elsewhere"))


def test_compiling_without_a_compiler_is_refused(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"compile=true needs a C\+\+ compiler"):
        train(make_config("compile=true"))


def test_the_log_says_what_is_trainable_in_each_phase(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        train(make_config("freeze=1", "trainer.max_epochs=2", "finetuning.norm=frozen"))
    told = [message for message in caplog.messages if message.startswith("phase")]
    assert [line.endswith(", norm layers frozen)") for line in told] == [False, True]
    assert [line.split(" (")[0] for line in told] == [
        "phase 1/2: head trainable for 1 epoch",
        "phase 2/2: everything trainable for 1 epoch",
    ]


def test_metrics_json_is_what_train_returns(make_config: MakeConfig, tmp_path: Path) -> None:
    metrics = train(make_config("trainer.max_epochs=1"))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert metrics["parameters/trainable"] < metrics["parameters/total"]


def test_an_average_of_the_weights_is_what_is_validated_tested_and_saved(
    make_config: MakeConfig, tmp_path: Path, images: Path
) -> None:
    settings = ("freeze=false", "optimizer.lr=0.05", "callbacks=ema", "callbacks.ema.decay=0.9")
    metrics = train(make_config(*settings))
    saved = run_checkpoint(tmp_path / "run", "best")
    averaged, raw = saved["state_dict"], saved["raw_state_dict"]
    assert any(not torch.equal(averaged[name], raw[name]) for name in averaged)
    loaded = load_classifier(tmp_path / "run" / "checkpoints" / "best.ckpt")
    splits = str(tmp_path / "run" / "splits.csv")
    data = make_data_module(
        images, loaded.preprocessing, Augmentation(), splits=splits, cache_dir=str(tmp_path)
    )
    losses = [
        torch.nn.functional.cross_entropy(loaded.classifier(images), labels, reduction="sum").item()
        for images, labels in data.test_dataloader()
    ]
    assert sum(losses) / len(data.images.samples["test"]) == pytest.approx(metrics["test/loss"], rel=1e-5)


def test_frozen_weights_stay_bit_identical_under_an_average(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("callbacks=ema", "callbacks.ema.decay=0.9")
    torch.manual_seed(config.seed)
    train(config)
    first, last = (run_checkpoint(tmp_path / "run", name)["state_dict"] for name in ("best", "last"))
    raw = run_checkpoint(tmp_path / "run")["raw_state_dict"]
    for name in first:
        if "backbone" in name:
            assert torch.equal(first[name], last[name]), name
            assert torch.equal(raw[name], last[name]), name


def test_norm_layers_of_pretrained_weights_stay_bit_identical_unless_they_are_to_be_trained(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    pretrained = timm.create_model("test_efficientnet").state_dict()
    torch.save(pretrained, tmp_path / "weights.pth")
    settings = ("freeze=false", "trainer.max_epochs=1", f"model.weights={tmp_path}/weights.pth")
    moved = {}
    for norm in ("auto", "frozen", "train"):
        train(make_config(*settings, f"finetuning.norm={norm}", run=norm))
        prefix = "classifier.backbone.network."
        state = run_checkpoint(tmp_path / norm)["state_dict"]
        moved[norm] = {
            name.removeprefix(prefix)
            for name, value in state.items()
            if name.startswith(prefix) and not torch.equal(value, pretrained[name.removeprefix(prefix)])
        }
    assert moved["auto"], "nothing was trained: the test shows nothing"
    assert moved["auto"] == moved["frozen"]
    assert not any("bn" in name for name in moved["auto"])
    assert {name for name in moved["train"] if "bn" not in name} == moved["auto"]
    assert {name for name in pretrained if "running_mean" in name} <= moved["train"]


def test_a_selection_of_pretrained_norm_layers_is_refused_unless_they_are_to_be_trained(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.pth")
    weights = f"model.weights={tmp_path}/weights.pth"
    settings = ("finetuning=select", "finetuning.train=[*bn1.*,head]", "trainer.max_epochs=1", weights)
    with pytest.raises(UserError, match=r"\*bn1\.\* names norm layers only, and these are frozen"):
        train(make_config(*settings))
    train(make_config(*settings, "finetuning.norm=train"))


def test_norm_layers_of_random_weights_are_trained(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("freeze=false", "trainer.max_epochs=1"))
    state = run_checkpoint(tmp_path / "run")["state_dict"]
    batches = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert batches
    assert all(value > 0 for value in batches)


def test_the_record_has_every_epoch_also_those_after_the_best_and_before_a_resume(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    keep = (
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        "+callbacks.keep.folder=${paths.run}/checkpoints",
    )
    # The highest loss is that of an early epoch.
    settings = ("trainer.max_epochs=4", "monitor=val/loss", "monitor_mode=max", *keep)
    run = record(make_config(*settings))
    assert run.metrics["best_epoch"] < 4, "the best epoch is the last: the test shows nothing"
    assert [list(run.history[name]) for name in ("train/loss", "val/loss")] == [[1, 2, 3, 4]] * 2
    resume = f"resume={tmp_path}/run/checkpoints/epoch2.ckpt"
    again = record(make_config(*settings, resume, run="again"))
    assert again.history == run.history


def test_a_split_with_fewer_images_than_processes_is_refused(make_config: MakeConfig) -> None:
    settings: Any = OmegaConf.to_container(make_config(), resolve=True)
    held = read_labelled_images(settings["data"], task_of("multiclass", ()))
    data = SimpleNamespace(images=held)
    refuse_idle_processes(data, len(held.samples["test"]))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"has \d images for 9 processes: write trainer\.devices=\d or less"):
        refuse_idle_processes(data, 9)  # type: ignore[arg-type]
