"""A resumed run ends as if it had never stopped, or says why it cannot."""

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from lightning.pytorch.callbacks import Timer
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from graft.errors import UserError
from graft.models.freezing import Phase
from graft.training import schedulers
from graft.training.module import Position
from graft.training.resumable_settings import settings_that_matter
from graft.training.resuming import Resumption, find_resumption, phase_settings
from tests.conftest import STATE, MakeConfig, assert_equal, run_checkpoint
from tests.conftest import trained as train

KEEP = (
    "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
    "+callbacks.keep.folder=${paths.run}/checkpoints",
)


MIXED = "regularisation.l2_sp=0.1 regularisation.mixup=0.4 regularisation.cutmix=1.0"


@pytest.mark.parametrize(
    ("schedule", "workers"),
    [
        ("freeze=2", 0),
        ("freeze=2", 2),
        ("finetuning=lp_ft finetuning.schedule.probe_epochs=2 scheduler=one_cycle", 2),
        (f"freeze=2 callbacks=ema data.balanced=true {MIXED}", 0),
        ("freeze=2 scheduler=plateau scheduler.patience=0 optimizer.lr=0.5", 0),
        ("finetuning=select finetuning.train=[*bn1.*,head] finetuning.norm=train", 0),
    ],
)
def test_resuming_before_at_and_after_a_phase_change_equals_never_stopping(
    make_config: MakeConfig, tmp_path: Path, schedule: str, workers: int
) -> None:
    settings = [
        *schedule.split(),
        "trainer.max_epochs=4",
        "augmentation=standard",
        "+model.options.drop_rate=0.3",
        "+model.options.drop_path_rate=0.2",
        f"data.num_workers={workers}",
    ]
    if "l2_sp" in schedule:  # It pulls towards pretrained weights only.
        torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.pth")
        settings.append(f"model.weights={tmp_path / 'weights.pth'}")
    whole = train(make_config(*settings, *KEEP, run="whole"))
    expected = run_checkpoint(tmp_path / "whole")
    for epoch in (1, 2, 3):
        resumed_from = tmp_path / "whole" / "checkpoints" / f"epoch{epoch}.ckpt"
        metrics = train(make_config(*settings, *KEEP, f"resume={resumed_from}", run=f"from{epoch}"))
        for key in STATE:
            found = run_checkpoint(tmp_path / f"from{epoch}").get(key)
            assert_equal(found, expected.get(key), f"from{epoch} {key}")
        assert metrics | {"seconds": 0} == whole | {"seconds": 0}


def test_resuming_with_another_setting_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("trainer.max_epochs=1"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"made with optimizer\.lr=0\.003, this run has optimizer\.lr=0\.1"):
        train(make_config(f"resume={last}", "optimizer.lr=0.1", run="other"))


def test_a_damaged_last_checkpoint_falls_back_to_the_best_and_says_so(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(make_config("trainer.max_epochs=2", run="first"))
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    metrics = train(make_config(f"resume={last}", run="second"))
    assert "Continuing from" in caplog.text
    assert metrics["epoch"] == 2


def test_resuming_on_other_splits_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("trainer.max_epochs=1"))
    rows = (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8")
    swapped = rows.replace(",train", ",X").replace(",test", ",train").replace(",X", ",test")
    (tmp_path / "swapped.csv").write_text(swapped, encoding="utf-8")
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    with pytest.raises(UserError, match=r"other images, classes or splits; write data\.splits="):
        train(make_config(last, f"data.splits={tmp_path}/swapped.csv", run="other"))
    again = train(
        make_config(last, f"data.splits={tmp_path}/run/splits.csv", "trainer.max_epochs=1", run="same")
    )
    assert again["epoch"] == 1


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("trainer.accumulate_grad_batches=2", r"trainer\.accumulate_grad_batches=4, this run .*=8"),
        ("data.batch_size=8", r"trainer\.accumulate_grad_batches=4, this run .*=8"),
        (
            "trainer.gradient_clip_val=0.5",
            r"gradient_clip_val=null, this run has trainer\.gradient_clip_val=0\.5",
        ),
        ("trainer.max_steps=3", r"max_steps=-1, this run has trainer\.max_steps=3"),
        ("+trainer.limit_train_batches=2", r"batches=null, this run has trainer\.limit_train_batches=2"),
        ("freeze=1", r"freeze=true, this run has freeze=1"),
        ("seed=42.0", r"seed=42, this run has seed=42\.0"),
        ("learning_rate=auto", r"optimizer\.lr=0\.003, this run has optimizer\.lr=auto"),
        ("+loss.of_tomorrow=0.1", r"of_tomorrow=null, this run has loss\.of_tomorrow=0\.1"),
        ("callbacks=ema", r"callbacks\.ema\.decay=null, this run has callbacks\.ema\.decay=0\.99"),
        ("~optimizer.weight_decay", r"weight_decay=0\.01, this run has optimizer\.weight_decay=null"),
    ],
)
def test_resuming_with_any_other_setting_is_refused_unless_it_may_differ(
    make_config: MakeConfig, tmp_path: Path, setting: str, difference: str
) -> None:
    last = checkpoint_of(make_config, tmp_path)
    with pytest.raises(UserError, match=difference):
        find_resumption(*resuming(make_config(f"resume={last}", setting, run="other")))


def test_resuming_lists_all_differences_once_with_both_values(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    last = checkpoint_of(make_config, tmp_path)
    changed = ["optimizer.lr=0.1", "freeze=false", "seed=7", "monitor=val/loss", "head.hidden=8"]
    with pytest.raises(UserError) as error:
        find_resumption(*resuming(make_config(f"resume={last}", *changed, run="other")))
    before = ["optimizer.lr=0.003", "freeze=true", "seed=42", "monitor=val/accuracy", "head.hidden=null"]
    for was, now in zip(before, changed, strict=True):
        assert str(error.value).count(f"{was}, this run has {now}") == 1
    assert str(error.value).count("this run has") == len(changed)  # Neither data.seed nor callbacks'.


def test_what_does_not_change_the_result_may_differ_in_a_resumed_run(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    last = checkpoint_of(make_config, tmp_path)
    changed = ["logger.csv=null", "data.num_workers=1", "trainer.log_every_n_steps=3"]
    changed += ["report=true"]  # room: reporting
    changed += [f"cache.dir={tmp_path}/elsewhere", "cache.limit_gb=7", "callbacks.progress=null"]
    changed += [
        "+data.file=moved.csv",
        "compile=auto",
        "calibrate=true",
        "learning_rate=0.003",
        "trainer.accelerator=cpu",
    ]
    config = make_config(f"resume={last}", *changed, run="other")
    assert find_resumption(*resuming(config))


def test_more_processes_are_refused_unless_the_step_has_as_many_images(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    last = checkpoint_of(make_config, tmp_path)
    with pytest.raises(UserError, match=r"processes x .*=4, this run has .*=8"):
        find_resumption(*resuming(make_config(f"resume={last}"), processes=2))
    assert find_resumption(*resuming(make_config(f"resume={last}", "data.batch_size=2"), processes=2))


def test_an_automatic_precision_is_compared_by_what_it_is_on_this_machine(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    last = checkpoint_of(make_config, tmp_path)
    with pytest.raises(UserError, match=r"precision=32-true, this run has trainer\.precision=bf16-mixed"):
        find_resumption(*resuming(make_config(f"resume={last}"), precision="bf16-mixed"))
    assert find_resumption(*resuming(make_config(f"resume={last}", "trainer.precision=32")))


def resuming(config: DictConfig, processes: int = 1, precision: str = "32-true") -> tuple[Any, Any]:
    """The settings as `fit` has them, and a Trainer as far as resuming looks at it."""
    settings: Any = OmegaConf.to_container(config, resolve=True)
    if isinstance(settings["learning_rate"], float):
        settings["optimizer"]["lr"] = settings["learning_rate"]
    return settings, SimpleNamespace(world_size=processes, precision=precision)


def resumption_in(phases: list[Phase], phase: int, next_epoch: int, began_at: int = 0) -> Resumption:
    """Return a resumption of a run with these phases."""
    return Resumption(
        Path("last.ckpt"), Position(phase, began_at), False, next_epoch, phase_settings(phases), "digest", 0.1
    )


def test_a_schedule_that_differs_from_the_checkpoints_is_refused_by_name() -> None:
    head, everything = Phase("head", ("head",), 1), Phase("everything", ("stem", "head"), 3)
    saved = resumption_in([head, everything], phase=1, next_epoch=2, began_at=1)
    saved.check_phases([head, everything])
    saved.check_phases([head, replace(everything, epochs=9)])
    with pytest.raises(UserError, match=r"made with phase 2 name=everything, this run has phase 2 name=null"):
        saved.check_phases([head])
    with pytest.raises(UserError, match=r"made with phase 1 epochs=1, this run has phase 1 epochs=2"):
        saved.check_phases([replace(head, epochs=2), everything])
    with pytest.raises(
        UserError, match=r"phase 2 trainable=\[stem,head\], this run has phase 2 trainable=\[head\]"
    ):
        saved.check_phases([head, replace(everything, trainable=("head",))])


def test_a_schedule_that_ends_before_the_checkpoints_epoch_is_refused() -> None:
    phase = Phase("head", ("head",), 4)
    saved = resumption_in([phase], phase=0, next_epoch=3)
    saved.check_phases([replace(phase, epochs=3)])
    with pytest.raises(UserError, match=r"3 epochs, and its phase \(head\) .* after 2; raise trainer"):
        saved.check_phases([replace(phase, epochs=2)])


@pytest.mark.parametrize(
    "schedule",
    [
        partial(schedulers.cosine, warmup=0.1),
        partial(schedulers.one_cycle, warmup=0.3),
        partial(schedulers.step, step_size=2, gamma=0.1),
        schedulers.bit_hyperrule,
        schedulers.constant,
    ],
)
def test_a_restored_schedule_takes_the_new_schedules_rates_in_every_group(
    schedule: Callable[[Optimizer, int, int], LambdaLR],
) -> None:
    def begin(total: int, steps: int) -> tuple[Optimizer, LambdaLR]:
        groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.1, 0.003)]
        optimizer = torch.optim.AdamW(groups)
        scheduler = schedule(optimizer, total, 4)
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
        return optimizer, scheduler

    for total in (8, 16):  # As long as before: the same to the last bit; lengthened: the new schedule's.
        old_optimizer, old_scheduler = begin(8, 8)
        optimizer, scheduler = begin(total, 0)
        optimizer.load_state_dict(old_optimizer.state_dict())
        scheduler.load_state_dict(old_scheduler.state_dict())
        schedulers.take_current_rates(scheduler)
        expected_optimizer, expected = begin(total, 8)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [group["lr"] for group in expected_optimizer.param_groups]
        assert scheduler.get_last_lr() == expected.get_last_lr()


def test_a_lengthened_run_steps_at_the_rates_of_the_new_schedule(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["freeze=false", "finetuning.head_lr_multiplier=10", "trainer.log_every_n_steps=1"]
    settings += ["callbacks.lr_monitor.logging_interval=step"]
    train(make_config(*settings, "trainer.max_epochs=2", run="short"))
    last = f"resume={tmp_path}/short/checkpoints/last.ckpt"
    train(make_config(*settings, "trainer.max_epochs=4", last, run="longer"))
    train(make_config(*settings, "trainer.max_epochs=4", run="whole"))
    longer, whole = rates_of(tmp_path / "longer"), rates_of(tmp_path / "whole")
    assert sorted(longer) == [step for step in sorted(whole) if step >= 8]
    assert all(longer[step] == whole[step] for step in longer)
    assert min(map(float, longer[8])) > 0


def rates_of(run: Path) -> dict[int, list[str]]:
    """The logged learning rates of all parameter groups by step."""
    with (run / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        rows = [(int(row["step"]), [v for k, v in row.items() if "lr-" in k]) for row in csv.DictReader(file)]
    return {step: rates for step, rates in rows if any(rates)}


def test_more_epochs_than_before_are_allowed_with_a_warning(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = checkpoint_of(make_config, tmp_path)
    assert find_resumption(*resuming(make_config(f"resume={last}", "trainer.max_epochs=9")))
    assert "trainer.max_epochs was 2 and is 9" in caplog.text


def checkpoint_of(make_config: MakeConfig, tmp_path: Path) -> Path:
    """Write a checkpoint that knows its settings, without a run."""
    description = {
        "settings": settings_that_matter(*resuming(make_config())),
        "learning_rate": 0.003,
        "max_epochs": 2,
        "phases": phase_settings([Phase("head", ("head",), 2)]),
        "position": {"phase": 0, "phase_began_at": 0, "phase_began_at_step": 0, "stopped_early": False},
        "images": "",
    }
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"epoch": 0, "graft": description}, path)
    return path


def test_a_probe_ends_when_it_has_converged_and_a_resumed_one_as_well(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["finetuning=lp_ft", "finetuning.schedule.probe_epochs=4", "trainer.max_epochs=5"]
    settings += ["finetuning.schedule.patience=1", "optimizer=sgd", "optimizer.lr=1e-9", "scheduler=none"]
    settings += ["augmentation=none"]
    whole = train(make_config(*settings, *KEEP, run="whole"))
    assert whole["epoch"] < 5
    first = run_checkpoint(tmp_path / "whole", "epoch1")
    resumed_from = tmp_path / "whole" / "checkpoints" / "epoch1.ckpt"
    assert not first["graft"]["position"]["stopped_early"]
    resumed = train(make_config(*settings, *KEEP, f"resume={resumed_from}", run="resumed"))
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}
    with (tmp_path / "whole" / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        phases = [float(row["phase"]) for row in csv.DictReader(file) if row.get("phase")]
    assert phases == [1.0] * (len(phases) - 1) + [2.0]


def test_resuming_after_an_early_stop_goes_on_with_the_next_phase(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["freeze=3", "trainer.max_epochs=5", "callbacks=early_stopping", "optimizer.lr=1e-9"]
    settings += ["callbacks.early_stopping.patience=1"]
    whole = train(make_config(*settings, *KEEP, run="whole"))
    resumed_from = tmp_path / "whole" / "checkpoints" / "epoch2.ckpt"
    assert run_checkpoint(tmp_path / "whole", "epoch2")["graft"]["position"]["stopped_early"]
    resumed = train(make_config(*settings, *KEEP, f"resume={resumed_from}", run="resumed"))
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


def test_resuming_a_finished_run_tests_its_best_checkpoint_again_and_says_so(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(make_config("trainer.max_epochs=2", "freeze=1"))
    assert "nothing is trained" not in caplog.text
    again = train(
        make_config(
            "trainer.max_epochs=2", "freeze=1", f"resume={tmp_path}/run/checkpoints/last.ckpt", run="b"
        )
    )
    assert "nothing is trained, the best checkpoint is tested again. To train longer, raise" in caplog.text
    assert again | {"seconds": 0} == first | {"seconds": 0}


def test_a_run_that_its_time_has_ended_continues_within_its_phase(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timer, "time_remaining", lambda *_: -1.0)  # After the first epoch.
    settings = ("freeze=2", "trainer.max_epochs=4")
    train(make_config(*settings, "+trainer.max_time=00:00:00:09", run="first"))
    monkeypatch.undo()
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    position = torch.load(last, weights_only=True)["graft"]["position"]
    assert position["stopped_early"] is False
