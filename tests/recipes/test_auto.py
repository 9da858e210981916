# room: recipes
"""`recipe=auto` with a clock that the test sets: what it tries, when it stops, how it resumes."""

import json
import logging
import shlex
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from omegaconf import DictConfig

from graft.errors import UserError
from graft.finished_run import FinishedRun
from graft.models.checkpoints import load_classifier
from graft.recipes.auto import fit_within_budget
from graft.recipes.fine_tuning import FollowPlan
from graft.recipes.result import images_gained
from graft.training import run
from graft.training.callbacks.checkpoints import BestAndLast
from graft.training.callbacks.predictions import Predictions
from graft.training.run import train
from tests.conftest import Command, MakeConfig, assert_equal, run_checkpoint, write_images

RECIPE = ("recipe=auto", "features.cache=true", "data.batch_size=6")


class Clock:
    """Stands still unless it is told to go on with every look at it."""

    def __init__(self) -> None:
        self.time, self.tick = 0.0, 0.0

    def __call__(self) -> float:
        self.time += self.tick
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("graft.recipes.budget.now", clock)
    monkeypatch.setattr("graft.recipes.budget.FEWEST_STEPS", 1)
    monkeypatch.setattr("graft.recipes.budget.COMPARING", 3.0)
    monkeypatch.setattr("graft.recipes.auto.FEWEST_WRONG", 0)  # The images are easy.
    monkeypatch.setattr("graft.recipes.budget.REFIT", 0.0)
    return clock


@pytest.fixture
def gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every fine-tuned network be better than its head."""
    monkeypatch.setattr("graft.recipes.result.images_gained", lambda before, after: (1, 0.5))


def auto(config: DictConfig) -> FinishedRun:
    return train(config, fit_within_budget)


def plan_of(run: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    return plan


def kept_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.recipes.result.shutil.rmtree", lambda *_, **__: None)


def test_time_for_no_epoch_gives_the_best_head_and_its_command_repeats_it(
    make_config: MakeConfig, tmp_path: Path, clock: Clock
) -> None:
    clock.tick = 1.0

    found = auto(make_config(*RECIPE, "time_budget=20s"))

    plan = plan_of(tmp_path / "run")
    assert any(step.startswith("no fine-tuning: ") for step in plan["steps"])
    assert found.metrics["epoch"] == 1
    assert "test/accuracy" in found.metrics
    command = plan["steps"][-1].removeprefix("again: ")
    typed = shlex.split(command)[2:]
    train(make_config("data.batch_size=6", *typed, run="again"))
    heads = (run_checkpoint(tmp_path / run, "best")["state_dict"] for run in ("run", "again"))
    assert_equal(*heads)


def test_more_stages_and_views_are_tried_and_the_backbone_runs_once_for_all_stages(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graft")

    auto(make_config(*RECIPE, "time_budget=14s"))

    steps = plan_of(tmp_path / "run")["steps"]
    four, one = "head on the last 4 stages, 1 view of an image", "head on the last stage, 1 view of an image"
    better = one if steps[2].endswith("not taken") else four
    assert [step.partition(":")[0] for step in steps[:5]] == [
        four,
        one,
        f"{four} against {one}",
        better.replace("1 view", "4 views"),
        f"{better.replace('1 view', '4 views')} against {better}",
    ]
    assert sum(" in cross-validation" in step for step in steps) == 3
    # The run itself computes nothing but the test split, which no choice has seen.
    computed = [line.split()[1] for line in caplog.text.splitlines() if " computed in " in line]
    assert len(computed) <= 3


def test_several_stages_are_taken_where_time_is_too_short_to_compare(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.tick = 5.0
    monkeypatch.setattr("graft.recipes.heads.measured_pace", lambda *_: pytest.fail("takes seconds"))

    auto(make_config(*RECIPE, "time_budget=30s"))

    plan = plan_of(tmp_path / "run")
    assert [" in cross-validation" in step for step in plan["steps"][:2]] == [True, False]
    assert "left out, it would take about 5 s" in plan["steps"][1]
    assert plan["settings"]["model.stages"] == 4


def test_nothing_is_compared_where_the_features_took_the_time(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.recipes.heads.measured_pace", lambda *_: pytest.fail("takes seconds"))
    monkeypatch.setattr("graft.recipes.heads.cross_validated", lambda *_: pytest.fail("takes seconds"))

    found = auto(make_config(*RECIPE, "time_budget=12s"))

    plan = plan_of(tmp_path / "run")
    assert plan["steps"][0] == "head on the last 4 stages, 1 view of an image: not compared, 12 s are left"
    assert (plan["settings"]["model.stages"], plan["settings"]["head.l2"]) == (4, "validation")
    assert found.metrics["epoch"] == 1


@pytest.mark.usefixtures("gain")
def test_the_clock_decides_the_epochs_and_they_are_trained_and_tested(
    make_config: MakeConfig, tmp_path: Path, clock: Clock
) -> None:
    found = auto(make_config(*RECIPE, "time_budget=15s"))

    plan = plan_of(tmp_path / "run")
    # Nothing takes time here but what every epoch takes besides, 1 s of the 5 that start and report leave.
    assert plan["settings"]["trainer.max_epochs"] == 2 + 5
    assert plan["settings"]["freeze"] == 2
    assert found.metrics["epoch"] == 7
    assert "test/accuracy" in found.metrics
    command = plan["steps"][-1].removeprefix("again: ").partition(", then ")[0]
    train(make_config("data.batch_size=6", *shlex.split(command)[2:], run="again"))
    assert_equal(*(run_checkpoint(tmp_path / run, "last")["state_dict"] for run in ("run", "again")))


@pytest.mark.usefixtures("gain")
@pytest.mark.parametrize(("steps", "epochs"), [(15, 2 + 5), (16, 1)])
def test_fine_tuning_needs_time_for_the_fewest_epochs_that_pay(
    make_config: MakeConfig,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    epochs: int,
) -> None:
    monkeypatch.setattr("graft.recipes.budget.FEWEST_STEPS", steps)  # 3 an epoch, of 1 s; 5 s are left.

    found = auto(make_config(*RECIPE, "time_budget=15s"))

    assert found.metrics["epoch"] == epochs


def test_a_head_that_is_right_on_all_validation_images_is_not_fine_tuned(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.recipes.auto.FEWEST_WRONG", 1)

    found = auto(make_config(*RECIPE, "time_budget=15s"))

    assert found.metrics["val/accuracy"] == 1.0, "the images are not that easy: the test shows nothing"
    steps = plan_of(tmp_path / "run")["steps"]
    assert any(step.startswith("no fine-tuning: the head has 0 of ") for step in steps)
    assert found.metrics["epoch"] == 1


def test_time_for_too_few_steps_is_left_to_more_heads(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.recipes.budget.FEWEST_STEPS", 1000)

    found = auto(make_config(*RECIPE, "time_budget=15s"))

    steps = plan_of(tmp_path / "run")["steps"]
    assert sum(" in cross-validation" in step for step in steps) == 3
    assert any("are left for it; it needs " in step for step in steps)
    assert found.metrics["epoch"] == 1


@pytest.mark.usefixtures("gain")
def test_the_default_budget_is_enough_for_six_epochs_at_the_pace_of_the_machine(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.recipes.budget.REFIT", 5.0)

    auto(make_config(*RECIPE))

    plan = plan_of(tmp_path / "run")
    # 1 s an epoch, half as much again for heads and averages, 5 s for the head, 10 s for start and report.
    assert plan["steps"][0].startswith("time budget: 24 s, by the pace of this machine")
    assert plan["settings"]["trainer.max_epochs"] == 2 + 9


@pytest.mark.usefixtures("gain")
def test_a_fit_that_is_slower_than_planned_ends_in_time_and_is_tested(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(callback: FollowPlan, trainer: L.Trainer, module: L.LightningModule) -> None:
        clock.time += 4.0 if trainer.current_epoch > 1 else 0.0

    monkeypatch.setattr(FollowPlan, "on_train_epoch_start", slow)

    found = auto(make_config(*RECIPE, "time_budget=20s"))

    assert plan_of(tmp_path / "run")["settings"]["trainer.max_epochs"] == 2 + 10
    assert found.metrics["epoch"] == 5  # The head's two, and three that begin 4, 8 and 12 seconds later.
    assert "test/accuracy" in found.metrics


@pytest.mark.usefixtures("gain")
def test_a_killed_run_goes_on_as_it_was_planned_whatever_its_clock_says(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*RECIPE, "time_budget=15s")
    auto(make_config(*settings, run="whole"))
    whole = plan_of(tmp_path / "whole")

    def kill(callback: FollowPlan, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == 3:
            raise SystemError("killed")

    with monkeypatch.context() as only:
        only.setattr(FollowPlan, "on_train_epoch_start", kill)
        with pytest.raises(SystemError):
            auto(make_config(*settings, run="killed"))
    clock.time += 1000.0
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    found = auto(make_config(*settings, f"resume={last}", run="other"))

    plan = plan_of(tmp_path / "other")
    assert plan["settings"] == whole["settings"]
    assert found.metrics["epoch"] == 7
    assert plan["averaged"] == whole["averaged"]
    weights = (run_checkpoint(tmp_path / run, "best")["state_dict"] for run in ("whole", "other"))
    assert_equal(*weights)


@pytest.mark.usefixtures("gain")
def test_the_average_of_epochs_is_what_is_measured_tested_and_kept(
    make_config: MakeConfig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_weights(monkeypatch)
    monkeypatch.setattr(BestAndLast, "rank", lambda callback, measured: (0.0, 0.0))  # All epochs join.

    found = auto(make_config(*RECIPE, "time_budget=13s"))

    plan, run = plan_of(tmp_path / "run"), tmp_path / "run"
    assert sorted(plan["averaged"]) == [1, 2, 3, 4, 5]
    epochs = [torch.load(run / "checkpoints" / "epochs" / f"{n}.pt", weights_only=True) for n in range(1, 6)]
    average = load_classifier(run / "checkpoints" / "best.ckpt").classifier.state_dict()
    for name, value in average.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, sum(epoch["weights"][name] for epoch in epochs) / 5)
    saved = run_checkpoint(run, "best")["validation"]
    loss = torch.nn.functional.cross_entropy(saved["logits"], saved["targets"]).item()
    assert found.metrics["val/loss"] == pytest.approx(loss, abs=1e-5)
    assert "then the mean of the weights after epochs 1, 2, 3, 4, 5" in plan["steps"][-1]

    # A run that is over and resumed, its epochs' weights gone, is the same average.
    shutil.move(run / "checkpoints" / "epochs", tmp_path / "elsewhere")
    again = auto(make_config(*RECIPE, f"resume={run / 'checkpoints' / 'last.ckpt'}", run="again"))
    names = [name for name in found.metrics if name.startswith(("test/", "val/"))]
    assert [again.metrics[name] for name in names] == [found.metrics[name] for name in names]


def test_fine_tuning_that_gains_no_more_than_chance_leaves_the_best_head(
    make_config: MakeConfig, images: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(images / "dark", 6, 180, seed=3)  # Not all can be right.
    monkeypatch.setattr("graft.recipes.result.images_gained", lambda before, after: (2, 2.0))
    settings, fit = (*RECIPE, "time_budget=13s"), run.fit
    resumed = (*settings, f"resume={tmp_path}/run/checkpoints/last.ckpt")
    begun: list[int] = []

    def recorded(settings: dict[str, Any]) -> Any:
        begun.append(settings["freeze"])
        return fit(settings)

    def killed_before(settings: dict[str, Any]) -> Any:
        if settings["freeze"] is True:
            raise SystemError("killed")
        return recorded(settings)

    def killed_after(settings: dict[str, Any]) -> Any:
        fitted = recorded(settings)
        if settings["freeze"] is True:
            raise SystemError("killed")
        return fitted

    # Killed before the head is fitted again, resumed, killed when its checkpoints are written, and resumed.
    for killed, given in ((killed_before, settings), (killed_after, resumed)):
        monkeypatch.setattr(run, "fit", killed)
        with pytest.raises(SystemError):
            auto(make_config(*given))
    monkeypatch.setattr(run, "fit", recorded)
    found = auto(make_config(*resumed))

    assert begun == [2, 2, True, True]
    plan = plan_of(tmp_path / "run")
    assert plan["settings"] == plan["head"]
    assert any(
        "images right by +2, with a standard error of 2.0: not taken" in step for step in plan["steps"]
    )
    assert any(step.startswith("result: the solved head, ") for step in plan["steps"])
    assert not (tmp_path / "run" / "checkpoints" / "epochs").exists()
    assert (found.metrics["epoch"], found.metrics["best_epoch"]) == (1, 1)
    typed = shlex.split(plan["steps"][-1].removeprefix("again: "))[2:]
    train(make_config("data.batch_size=6", *typed, run="again"))
    heads = (run_checkpoint(tmp_path / name, "best")["state_dict"] for name in ("run", "again"))
    assert_equal(*heads)
    saved = run_checkpoint(tmp_path / "run", "best")["validation"]
    wrong = (saved["logits"].argmax(dim=1) != saved["targets"]).nonzero().flatten().tolist()
    assert plan["wrong"] == wrong != []
    over = auto(make_config(*resumed, run="over"))
    assert over.metrics["test/loss"] == found.metrics["test/loss"]


def test_the_gain_is_the_difference_of_images_that_only_one_has_right() -> None:
    targets = torch.tensor([0, 0, 0, 0, 1])
    logits = torch.nn.functional.one_hot(torch.tensor([1, 0, 0, 0, 1]), 2).float()
    # Three are right now, one no longer.
    assert images_gained([1, 2, 3], Predictions(logits, targets)) == (2, 2.0)


def test_the_command_trains_with_a_recipe(command: Command, images: Path) -> None:
    tiny = ["model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"]
    tiny += ["report=false"]  # room: reporting

    done = command("recipe=auto", "time_budget=11s", f"data.root={images}", *tiny)

    assert done.returncode == 0, done.stderr
    assert "recipe     head on the last 4 stages, 1 view of an image: " in done.stdout
    again = next(line for line in done.stdout.splitlines() if line.startswith("recipe     again: "))
    assert "recipe=" not in again
    assert f"data.root={images}" in again
    assert "head.l2=" in again


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("finetuning=lp_ft",), "leave finetuning and callbacks=ema out"),
        (("callbacks=ema",), "leave finetuning and callbacks=ema out"),
        (("head.hidden=8",), r"leave head\.hidden"),
        (("loss=focal",), "cross-entropy, not FocalLoss; write loss=cross_entropy"),
        (("features.cache=false",), r"needs cached features: leave features\.cache=false out"),
        (
            ("regularisation.mixup=0.2",),
            r"needs cached features, but regularisation\.mixup .* leave recipe=auto",
        ),
        (("data.balanced=true",), r"counts every training image once: .*loss\.class_weights=balanced"),
        (("task=regression",), r"is for task=multiclass: leave it out with task=regression"),
        (
            ("model=torchvision", "model.name=squeezenet1_1", "data.image_size=64"),
            r"that of squeezenet1_1 is convolutional: write another model\.name",
        ),
    ],
)
def test_settings_that_leave_no_choice_are_refused(
    make_config: MakeConfig, settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        auto(make_config("recipe=auto", *settings))


def test_a_run_without_a_plan_is_not_resumed(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.json cannot be read.* leave resume out"):
        auto(make_config("recipe=auto", f"resume={tmp_path / 'checkpoints' / 'last.ckpt'}"))


@pytest.mark.parametrize("resume", ["", "run/checkpoints/last.ckpt"])
def test_several_processes_are_refused_by_a_resumed_run_as_well(make_config: MakeConfig, resume: str) -> None:
    several = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    with pytest.raises(UserError, match=r"recipe=auto needs one process: write trainer\.devices=1"):
        auto(make_config("recipe=auto", *several, f"resume={resume or 'null'}"))
