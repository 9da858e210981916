"""What people type in their first hour works, or is answered with what to write instead."""

import json
import math
import re
import shlex
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from tests.acceptance.test_bad_input import assert_one_line
from tests.conftest import Command, write_images

TINY = (
    *("model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"),
    *("data.batch_size=4", "data.num_workers=0", "logger.tensorboard=null"),
    "report=false",  # room: reporting
)


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("freeze = false", ["freeze=false"]),
        ("freeze= false", ["freeze=false"]),
        ("freeze =false", ["freeze=false"]),
        ("freeze=false,", ["freeze=false"]),
        ("--model resnet18", ["model=resnet18"]),
        ("--optimizer.lr=1", ["optimizer.lr=1"]),
        ("model resnet18", ["model=resnet18"]),
        ("freeze=true --epochs 5", ["trainer.max_epochs=5"]),
        ("epochs=5", ["trainer.max_epochs=5"]),
        ("trainer.epochs=5", ["trainer.max_epochs=5"]),
        ("+epochs=5", ["trainer.max_epochs=5"]),
        ("gpus=1", ["trainer=gpu trainer.devices=1"]),
        ("device=cuda:1", ["trainer=gpu trainer.devices=[1]"]),
        ("pretrained=false", ["model.weights=null"]),
        ("classes=3", ["the classes are the folders"]),
        ("data.folder=x", ["data=folder data.root=x"]),
        ("image_size=64", ["data.image_size=64"]),
        ("imgsz=64 workers=2", ["data.image_size=64", "data.num_workers=2"]),
        ("lr=0.1", ["optimizer.lr=0.1"]),
        ("amp=true", ["trainer.precision=16-mixed"]),
        ("./photos", ["data=folder data.root=./photos"]),
        ("--cfg everything", ["job, hydra or all"]),
        ("-m freeze=true --cfg job", ["--cfg"]),
    ],
)
def test_what_is_typed_otherwise_is_answered_with_the_right_form(
    command: Command, typed: str, right: list[str]
) -> None:
    assert_one_line(command(*shlex.split(typed)), *right)


def test_flags_may_stand_anywhere(command: Command) -> None:
    result = command("seed=7", "--cfg", "job", "freeze=false")
    assert result.returncode == 0, result.stderr
    assert "seed: 7" in result.stdout
    assert "freeze: false" in result.stdout


def test_the_shell_completion_of_hydra_is_printed(command: Command) -> None:
    result = command("-sc", "install=bash")
    assert result.returncode == 0, result.stderr
    assert "hydra_bash_completion" in result.stdout


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b", "a [b] (c)", "it's", "{a}", "2024", "Café", "a\\b"])
def test_a_folder_of_any_name_is_read_as_it_is_typed(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    result = command(f"data.root={name}", "--cfg", "job", "-p", "data")
    assert result.returncode == 0, result.stderr
    import yaml

    data = yaml.safe_load(result.stdout)
    assert data["root"] == name
    assert data["_target_"] == "graft.data.sources.folder.Folder"


def test_the_home_folder_is_expanded(command: Command, tmp_path: Path) -> None:
    result = command("data=~/photos", "--cfg", "job", "-p", "data", HOME=str(tmp_path))
    assert f"root: {tmp_path}/photos" in result.stdout


def test_every_job_of_a_sweep_runs_and_ends_as_a_row_of_its_table(
    command: Command, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objectives: list[float] = []
    sweeper: Any = next(
        kind for kind in Plugins.instance().discover(Sweeper) if kind.__name__ == "BasicSweeper"
    )
    sweep = sweeper.sweep

    def kept(self: Sweeper, arguments: list[str]) -> object:
        batches = sweep(self, arguments)
        objectives.extend(job.return_value for batch in batches for job in batch)
        return batches

    monkeypatch.setattr(sweeper, "sweep", kept)
    tiny = (*TINY, f"data.root={images}", "trainer.max_epochs=1", "hydra.sweep.dir=sweep")
    result = command("-m", "freeze=7,true", "seed=1,2", *tiny)
    assert result.returncode == 1, result.stderr
    finished = [tmp_path / "sweep" / f"{number}_freeze=true,seed={number - 1}" for number in (2, 3)]
    assert all((folder / "metrics.json").is_file() for folder in finished)
    assert not list((tmp_path / "sweep").glob("*freeze=7*/metrics.json"))

    # What a sweeper optimises is the monitored validation metric; of a failed job there is none.
    measured = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in finished]
    assert objectives[2:] == [metrics["val/accuracy"] for metrics in measured]
    assert all(map(math.isnan, objectives[:2]))

    table = result.stdout.split("sweep       4 jobs, 2 failed")[1]
    assert "2  freeze=true" in table
    assert len(re.findall(r"failed  freeze=7 seed=\d: freeze=7 leaves", table)) == 2
    repeat = shlex.split(table.split("repeat the best\n")[1].splitlines()[0])
    assert repeat[2:4] == ["data=folder", "freeze=true"]
    assert (tmp_path / "sweep" / "results.csv").is_file()
    assert (tmp_path / "sweep" / "sweep.html").is_file()  # room: reporting
    again = command("-m", "freeze=7,true", *tiny)
    assert_one_line(again, "hydra.sweep.dir=sweep already holds a run")


def test_a_run_in_a_folder_with_odd_characters_can_be_gone_on_with_by_what_it_prints(
    command: Command, script: Command, tmp_path: Path
) -> None:
    images = tmp_path / "my, images=1"
    write_images(images / "dark", 12, 80, seed=1)
    write_images(images / "light", 12, 180, seed=2)
    run = "runs, a=1/one run"
    settings = (*TINY, f"data.root={images.name}", "trainer.max_epochs=1")
    first = command(*settings, "seed=1", "seed=2", "freeze=true", f"hydra.run.dir={run}")
    assert first.returncode == 0, first.stderr

    refused = command(*settings, f"hydra.run.dir={run}")
    assert_one_line(refused, "already holds a run", "resume=last")

    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    shutil.copy(tmp_path / run / "checkpoints" / "last.ckpt", tmp_path / "other" / "checkpoints")
    refused = command(*settings, "resume=other/checkpoints/last.ckpt", f"hydra.run.dir={run}")
    assert_one_line(refused, "already holds a run", "another folder")

    lines = [line.strip() for line in first.stdout.splitlines()]
    predict = shlex.split(lines[lines.index("predict") + 1])
    predicted = script("predict.py", *predict[2:-1], images.name)
    assert predicted.returncode == 0, predicted.stderr
    two_words = script("predict.py", run, images.name, "output=two.csv")
    assert two_words.returncode == 0, two_words.stderr
    same = [(tmp_path / name).read_text(encoding="utf-8") for name in ("predictions.csv", "two.csv")]
    assert same[0] == same[1]

    resumed = command(f"resume={run}", "trainer.max_epochs=2", "paths.logs=logs")
    assert resumed.returncode == 0, resumed.stderr
    assert "settings of" in resumed.stdout
    metrics = [json.loads(f.read_text(encoding="utf-8")) for f in (tmp_path / "logs").rglob("metrics.json")]
    assert [found["epoch"] for found in metrics] == [2]


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    from graft.cli.jobs import new_folder

    first, second = cache(new_folder), cache(new_folder)
    wanted = str(tmp_path / "runs" / "2026-01-01_00-00-00")
    assert first(wanted) == first(wanted) == wanted
    assert second(wanted) == f"{wanted}-2"
    assert (tmp_path / "runs" / "2026-01-01_00-00-00-2").is_dir()


def test_output_in_ascii_does_not_stop_a_command(process: Command, tmp_path: Path) -> None:
    result = process(f"data.root={tmp_path}/Café", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert_one_line(result, "Caf")
