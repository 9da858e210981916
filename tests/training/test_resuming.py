"""A resumed run ends as if it had never stopped, or says why it cannot."""

import csv
from pathlib import Path

import pytest
import torch

from graft.errors import UserError
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
    keep = [
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        f"+callbacks.keep.folder={tmp_path}/whole/checkpoints",
    ]
    whole = train(make_config(*settings, *keep, run="whole"))
    expected = run_checkpoint(tmp_path / "whole")
    for epoch in (1, 2, 3):
        resumed_from = tmp_path / "whole" / "checkpoints" / f"epoch{epoch}.ckpt"
        metrics = train(make_config(*settings, f"resume={resumed_from}", run=f"from{epoch}"))
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
    run = tmp_path / "logs" / "train" / "runs" / "first"
    train(make_config("trainer.max_epochs=2", f"paths.run={run}"))
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    metrics = train(make_config("resume=last", run="second"))
    assert "Going on from" in caplog.text
    assert metrics["epoch"] == 2


def test_resuming_on_other_splits_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("trainer.max_epochs=1"))
    rows = (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8")
    swapped = rows.replace(",train", ",X").replace(",test", ",train").replace(",X", ",test")
    (tmp_path / "swapped.csv").write_text(swapped, encoding="utf-8")
    last = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    with pytest.raises(UserError, match=r"other pictures, classes or splits; write data\.splits="):
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
    with pytest.raises(UserError, match=rf"this run has trainer\.{setting}"):
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
    contents = {"epoch": 0, "graft": {"settings": settings, "position": position, "pictures": ""}}
    torch.save(contents, tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_a_probe_ends_when_it_has_converged_and_a_resumed_one_as_well(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["finetuning=lp_ft", "finetuning.schedule.probe_epochs=4", "trainer.max_epochs=5"]
    settings += ["finetuning.schedule.patience=1", "optimizer=sgd", "optimizer.lr=1e-9", "scheduler=none"]
    settings += ["augmentation=none"]
    keep = [
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        f"+callbacks.keep.folder={tmp_path}/whole/checkpoints",
    ]
    whole = train(make_config(*settings, *keep, run="whole"))
    assert whole["epoch"] < 5
    first = run_checkpoint(tmp_path / "whole", "epoch1")
    resumed_from = tmp_path / "whole" / "checkpoints" / "epoch1.ckpt"
    assert not first["graft"]["position"]["phase_is_over"]
    resumed = train(make_config(*settings, f"resume={resumed_from}", run="resumed"))
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}
    with (tmp_path / "whole" / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        phases = [float(row["phase"]) for row in csv.DictReader(file) if row.get("phase")]
    assert phases == [1.0] * (len(phases) - 1) + [2.0]


def test_resuming_after_an_early_stop_goes_on_with_the_next_phase(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = ["freeze=3", "trainer.max_epochs=5", "callbacks=early_stopping", "optimizer.lr=1e-9"]
    settings += ["callbacks.early_stopping.patience=1"]
    keep = [
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        f"+callbacks.keep.folder={tmp_path}/whole/checkpoints",
    ]
    whole = train(make_config(*settings, *keep, run="whole"))
    resumed_from = tmp_path / "whole" / "checkpoints" / "epoch2.ckpt"
    assert run_checkpoint(tmp_path / "whole", "epoch2")["graft"]["position"]["phase_is_over"]
    resumed = train(make_config(*settings, f"resume={resumed_from}", run="resumed"))
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
