"""A resumed run ends as if it had never stopped, or says why it cannot."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import lightning as L
import pytest
import timm
import torch

from graft.errors import UserError
from graft.models.freezing import Phase
from graft.training.callbacks.checkpoints import BestAndLast
from graft.training.resuming import find_resumption, settings_that_matter
from graft.training.run import train
from tests.conftest import STATE, MakeConfig, assert_equal, run_checkpoint


@pytest.mark.parametrize(
    ("schedule", "workers"),
    [
        ("freeze=2", 0),
        ("freeze=2", 2),
        ("finetuning=lp_ft finetuning.schedule.probe_epochs=2 scheduler=one_cycle", 2),
        ("freeze=2 callbacks=ema loss.l2_sp=0.1 loss.mixup=0.4 loss.cutmix=1.0 data.balanced=true", 0),
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
    keep = "+callbacks.keep._target_=tests.conftest.KeepCheckpoints"
    whole = train(make_config(*settings, keep, run="whole"))
    expected = run_checkpoint(tmp_path / "whole")
    for epoch in (1, 2, 3):
        resumed_from = tmp_path / "whole" / "checkpoints" / f"epoch{epoch}.ckpt"
        metrics = train(make_config(*settings, keep, f"resume={resumed_from}", run=f"from{epoch}"))
        for key in STATE:
            found = run_checkpoint(tmp_path / f"from{epoch}").get(key)
            assert_equal(found, expected.get(key), f"from{epoch} {key}")
        assert metrics | {"seconds": 0} == whole | {"seconds": 0}


def test_resuming_with_another_setting_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("trainer.max_epochs=1"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"made with optimizer\.lr=0\.003, now 0\.1"):
        train(make_config(f"resume={last}", "optimizer.lr=0.1", run="other"))


def test_a_damaged_last_checkpoint_falls_back_to_the_best_and_says_so(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "logs" / "train" / "runs" / "first"
    train(make_config("trainer.max_epochs=2", f"paths.run={run}"))
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    metrics = train(make_config("resume=last", run="second"))
    assert "Going on from" in caplog.text
    assert metrics["epoch"] == 2


def test_resuming_on_other_splits_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("trainer.max_epochs=1"))
    rows = (tmp_path / "run" / "splits.csv").read_text()
    swapped = rows.replace(",train", ",X").replace(",test", ",train").replace(",X", ",test")
    (tmp_path / "swapped.csv").write_text(swapped)
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    with pytest.raises(UserError, match=r"other images, classes or splits; write data\.splits="):
        train(make_config(last, f"data.splits={tmp_path}/swapped.csv", run="other"))
    again = train(
        make_config(last, f"data.splits={tmp_path}/run/splits.csv", "trainer.max_epochs=1", run="same")
    )
    assert again["epoch"] == 1


@pytest.mark.parametrize(
    "setting", ["accumulate_grad_batches=2", "gradient_clip_val=0.5", "precision=64", "max_steps=3"]
)
def test_resuming_with_another_optimization_is_refused(
    make_config: MakeConfig, tmp_path: Path, setting: str
) -> None:
    checkpoint_of(make_config, tmp_path)
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    name, _, value = setting.partition("=")
    with pytest.raises(UserError, match=rf"trainer\.{name}=\S+, now {value}"):
        find_resumption(make_config(last, f"trainer.{setting}", run="other"))


def test_more_epochs_than_before_are_allowed_with_a_warning(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint_of(make_config, tmp_path)
    assert find_resumption(
        make_config(f"resume={tmp_path}/run/checkpoints/last.ckpt", "trainer.max_epochs=9")
    )
    assert "trainer.max_epochs was 2 and is 9" in caplog.text


def checkpoint_of(make_config: MakeConfig, tmp_path: Path) -> None:
    """Write a checkpoint that knows its settings, without a run."""
    settings = settings_that_matter(make_config())
    position = {"phase": 0, "phase_began_at": 0, "phase_began_at_step": 0, "phase_is_over": False}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    description = {"settings": settings, "position": {**position, "learns": ["head"]}, "pictures": ""}
    contents = {"epoch": 0, "graft": {**description, "processes": 1}}
    torch.save(contents, tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_a_probe_ends_when_it_has_converged_and_a_resumed_one_as_well(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["finetuning=lp_ft", "finetuning.schedule.probe_epochs=4", "trainer.max_epochs=5"]
    settings += ["finetuning.schedule.patience=1", "optimizer=sgd", "optimizer.lr=1e-9", "scheduler=none"]
    settings += ["augmentation=none"]
    keep = "+callbacks.keep._target_=tests.conftest.KeepCheckpoints"
    whole = train(make_config(*settings, keep, run="whole"))
    assert whole["epoch"] < 5
    first = run_checkpoint(tmp_path / "whole", "epoch1")
    resumed_from = tmp_path / "whole" / "checkpoints" / "epoch1.ckpt"
    assert not first["graft"]["position"]["phase_is_over"]
    resumed = train(make_config(*settings, keep, f"resume={resumed_from}", run="resumed"))
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}
    with (tmp_path / "whole" / "csv" / "metrics.csv").open() as file:
        phases = [float(row["phase"]) for row in csv.DictReader(file) if row.get("phase")]
    assert phases == [1.0] * (len(phases) - 1) + [2.0]


def test_resuming_after_an_early_stop_goes_on_with_the_next_phase(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["freeze=3", "trainer.max_epochs=5", "callbacks=early_stopping", "optimizer.lr=1e-9"]
    settings += ["callbacks.early_stopping.patience=1"]
    keep = "+callbacks.keep._target_=tests.conftest.KeepCheckpoints"
    whole = train(make_config(*settings, keep, run="whole"))
    resumed_from = tmp_path / "whole" / "checkpoints" / "epoch2.ckpt"
    assert run_checkpoint(tmp_path / "whole", "epoch2")["graft"]["position"]["phase_is_over"]
    resumed = train(make_config(*settings, keep, f"resume={resumed_from}", run="resumed"))
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


def test_resuming_a_finished_run_tests_its_best_checkpoint_again(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    first = train(make_config("trainer.max_epochs=2", "freeze=1"))
    again = train(
        make_config(
            "trainer.max_epochs=2", "freeze=1", f"resume={tmp_path}/run/checkpoints/last.ckpt", run="b"
        )
    )
    assert again | {"seconds": 0} == first | {"seconds": 0}


def test_a_setting_that_no_list_knows_has_to_be_the_same(make_config: MakeConfig, tmp_path: Path) -> None:
    checkpoint_of(make_config, tmp_path)
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    for added in ("+trainer.limit_train_batches=3", "+optimizer.amsgrad=true", "+loss.one_more=1"):
        name, _, value = added.removeprefix("+").partition("=")
        with pytest.raises(UserError, match=rf"{name}=null, now {value}"):
            find_resumption(make_config(last, added))


def test_all_that_differs_is_listed_in_one_error_and_true_is_not_1(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    checkpoint_of(make_config, tmp_path)
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    with pytest.raises(UserError) as told:
        find_resumption(make_config(last, "freeze=1", "data.batch_size=8", "seed=7"))
    for difference in ("freeze=true, now 1", "data.batch_size=4, now 8", "seed=42, now 7"):
        assert difference in str(told.value)


def test_what_changes_no_number_may_differ(make_config: MakeConfig, tmp_path: Path) -> None:
    checkpoint_of(make_config, tmp_path)
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    others = ["data.num_workers=2", "report=true", "calibrate=true", "trainer.log_every_n_steps=1"]
    assert find_resumption(make_config(last, *others, "logger=none", "trainer.accelerator=cpu"))


def test_a_phase_that_the_schedule_lacks_and_other_processes_are_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    checkpoint_of(make_config, tmp_path)
    found = find_resumption(make_config(f"resume={tmp_path}/run/checkpoints/last.ckpt"))
    assert found is not None
    head, everything = Phase("head", ("head",), 1), Phase("everything", ("stem", "head"), 1)
    found.refuse_other_phases([head, everything])
    with pytest.raises(UserError, match="no such phase"):
        replace(found, phase=1).refuse_other_phases([head])
    with pytest.raises(UserError, match="no such phase"):
        found.refuse_other_phases([everything])
    found.refuse_other_processes(1)
    with pytest.raises(UserError, match=r"made with 1 process\(es\), this run has 2"):
        found.refuse_other_processes(2)


class NoteRates(L.Callback):
    """Notes the rate of every optimizer step."""

    rates: ClassVar[list[float]] = []

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note the head's rate."""
        del trainer, pl_module
        self.rates.append(optimizer.param_groups[-1]["lr"])


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle", "bit_hyperrule"])
def test_a_lengthened_run_goes_on_at_the_rate_of_the_new_schedule(
    make_config: MakeConfig, tmp_path: Path, scheduler: str
) -> None:
    settings = [f"scheduler={scheduler}", f"+callbacks.note._target_={__name__}.NoteRates"]
    NoteRates.rates.clear()
    train(make_config(*settings, "trainer.max_epochs=4", run="whole"))
    expected = list(NoteRates.rates)
    NoteRates.rates.clear()
    train(make_config(*settings, "trainer.max_epochs=2"))
    NoteRates.rates.clear()
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    train(make_config(*settings, "trainer.max_epochs=4", last, run="longer"))
    assert NoteRates.rates == expected[len(expected) // 2 :]


def test_a_process_that_sees_no_best_checkpoint_knows_it_like_the_one_that_copies(tmp_path: Path) -> None:
    for copies in (True, False):
        callback = BestAndLast(str(tmp_path / "new"), "val/loss")
        callback.go_on_from(tmp_path / "old" / "last.ckpt", copies)
        callback.load_state_dict({"best_metrics": {"val/loss": 0.1}, "best_epoch": 3})
        assert callback.best_metrics == {}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "best.ckpt").write_bytes(b"best")
    callback = BestAndLast(str(tmp_path / "new"), "val/loss")
    callback.go_on_from(tmp_path / "old" / "last.ckpt", copies=False)
    assert not (tmp_path / "new").exists()
    callback.go_on_from(tmp_path / "old" / "last.ckpt")
    assert (tmp_path / "new" / "best.ckpt").read_bytes() == b"best"
