"""The table of a sweep: configurations by validation, spread over seeds, failed jobs, what comes next."""

import csv
import math
import shlex
from pathlib import Path
from typing import Any

import pytest

from graft.cli.jobs import as_typed, job_folder
from graft.cli.sweep import end_sweep
from graft.finished_run import SweepJob


def job(overrides: str, validation: float = math.nan, test: float = math.nan, **fields: Any) -> SweepJob:
    values: dict[str, Any] = {
        "monitor": "val/accuracy",
        "validation": validation,
        "test": test,
        "seconds": 2.0,
    }
    return SweepJob(overrides.split(), **(values | fields))


JOBS = [
    job("freeze=true seed=1 data.root=x", 0.80, 0.95),
    job("freeze=true seed=2 data.root=x", 0.70, 0.95),
    job("freeze=2 seed=1 data.root=x", 0.90, 0.60),
    job("freeze=2 seed=2 data.root=x", 0.86, 0.60),
    job("freeze=7 seed=1 data.root=x", error="freeze=7 leaves no epoch for fine-tuning."),
]


def ended(folder: Path) -> list[dict[str, str]]:
    """End the sweep of these jobs and return the rows of its results.csv."""
    end_sweep(JOBS, folder)
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_best_on_validation_comes_first_whatever_the_test_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ended(tmp_path)
    table = [line.split() for line in capsys.readouterr().out.splitlines() if " ± " in line]
    assert [line[-1] for line in table] == ["freeze=2", "freeze=true"]
    assert [row["freeze"] for row in rows] == ["2", "true", "7"]


def test_a_row_has_mean_and_standard_deviation_over_its_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ended(tmp_path)
    assert "0.8800 ± 0.0283  0.6000 ± 0.0000      2.0     2  freeze=2" in capsys.readouterr().out
    assert (rows[0]["runs"], rows[0]["seed"], rows[0]["monitor"]) == ("2", "1 2", "val/accuracy")
    assert float(rows[0]["val"]) == pytest.approx(0.88)
    assert float(rows[0]["val_std"]) == pytest.approx(0.02 * math.sqrt(2))
    assert "data.root" not in rows[0]


def test_a_job_that_failed_is_a_row_with_its_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ended(tmp_path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  failed")]
    assert "freeze=7 seed=1: freeze=7 leaves no epoch" in line
    assert rows[-1]["error"] == "freeze=7 leaves no epoch for fine-tuning."
    assert rows[-1]["val"] == ""


def test_the_command_that_repeats_the_best_run_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end_sweep(JOBS, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    command = shlex.split(lines[lines.index("  repeat the best") + 1])
    assert Path(command[1]).name == "train.py"
    assert command[2:] == ["freeze=2", "seed=1", "data.root=x"]


def test_the_table_has_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        job(f"model={name} finetuning.head_lr_multiplier={rate} seed={seed}", 0.5, 0.5)
        for name in ("efficientnet_lite0", "mobilenet_v3_large")
        for rate in (10, 100)
        for seed in (1, 2)
    ]
    end_sweep([*jobs, job("model=resnet18 seed=1", error="a long line " * 9)], tmp_path)
    table = capsys.readouterr().out.split("results ")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_where_lower_is_better_the_lowest_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lower: dict[str, Any] = {"monitor": "val/loss", "lower_is_better": True}
    jobs = [job("optimizer.lr=1", 0.9, **lower), job("optimizer.lr=2", 0.2, **lower)]
    end_sweep([*jobs, job("optimizer.lr=3", math.nan, **lower)], tmp_path)
    table = [line.split() for line in capsys.readouterr().out.splitlines() if "optimizer.lr" in line]
    assert [line[-1] for line in table[:3]] == ["optimizer.lr=2", "optimizer.lr=1", "optimizer.lr=3"]


def test_a_sweep_whose_every_job_failed_has_a_table_and_nothing_to_repeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end_sweep([job("freeze=7", error="no"), job("freeze=8", error="no")], tmp_path)
    output = capsys.readouterr().out
    assert "2 jobs, 2 failed" in output
    assert "repeat" not in output


def test_a_job_is_named_after_the_settings_that_it_does_not_share() -> None:
    arguments = ["-m", "freeze=true,2", "+trainer.min_epochs=1,2", "data.root='a, b'", "paths.logs=logs"]
    given = ["freeze=True", "+trainer.min_epochs=2", "data.root='a, b'", "paths.logs=logs"]
    assert job_folder(arguments, 3, given) == "3_freeze=true,trainer.min_epochs=2"
    assert job_folder(["-m", "seed=1"], 0, ["seed=1"]) == "0"
    assert len(job_folder(["-m"], 0, [f"model.name={'é' * 300}"]).encode()) <= 100
    # A sweeper such as Optuna's has its own settings for the keys that it varies.
    assert job_folder(["-m", "seed=1"], 5, ["optimizer.lr=0.01", "seed=1"]) == "5_optimizer.lr=0.01"
    assert (
        job_folder(["-m", "model.weights=a/b.pth,c"], 0, ["model.weights=a/b.pth"])
        == "0_model.weights=a-b.pth"
    )


def test_overrides_are_shown_as_they_were_typed() -> None:
    assert as_typed(["freeze=True", "report=False", "model.name=True-ish"]) == [
        "freeze=true",
        "report=false",
        "model.name=True-ish",
    ]


def test_a_test_that_could_not_be_measured_leaves_the_table_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end_sweep(
        [job("freeze=2 seed=1", 0.9), job("freeze=2 seed=2", 0.8), job("freeze=3 seed=1", 0.7)], tmp_path
    )
    assert "0.8500 ± 0.0707" in capsys.readouterr().out
    assert len((tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()) == 3
