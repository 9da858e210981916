"""Predictions through the command agree with the test at the end of training."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from graft.training import train
from tests.conftest import PROJECT, MakeConfig


def predict(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / "predict.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_predictions_agree_with_the_test_and_bad_pictures_are_rows(
    make_config: MakeConfig, tmp_path: Path, pictures: Path
) -> None:
    metrics = train(make_config("trainer.max_epochs=1"))
    (pictures / "dark" / "broken.jpg").write_text("no picture")
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    result = predict(f"checkpoint={checkpoint}", f"input={pictures}", "batch_size=5", cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    with (tmp_path / "predictions.csv").open() as lines:
        rows = {str(Path(row["path"]).relative_to(pictures)): row for row in csv.DictReader(lines)}
    assert list(rows) == sorted(rows)
    assert len(rows) == 25
    assert rows["dark/broken.jpg"]["error"]
    assert rows["dark/broken.jpg"]["label"] == ""
    splits = [line.split(",") for line in (tmp_path / "run" / "splits.csv").read_text().splitlines()[1:]]
    tested = [(path, name) for path, name, split in splits if split == "test"]
    right = sum(rows[path]["label"] == name for path, name in tested)
    assert right / len(tested) == pytest.approx(metrics["test/accuracy"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekpoint=a.ckpt"], "Did you mean 'checkpoint'?"),
        (["input=."], "checkpoint is needed"),
        (["checkpoint=none.ckpt", "input=."], "there is no checkpoint none.ckpt"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = predict(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
