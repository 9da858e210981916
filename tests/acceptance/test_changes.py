"""What a template's owner changes first takes one small file, or none: each job, with its lines."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graft.cli.command import main
from tests.conftest import PROJECT, Command, command_environment

Job = Callable[..., dict[str, float]]
TINY = (
    *("model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"),
    *("data.batch_size=4", "trainer.max_epochs=1", "logger.tensorboard=null"),
    "report=false",  # room: reporting
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the configuration that a test may add files to."""
    shutil.copytree(PROJECT / "configs", tmp_path / "project" / "configs")
    return tmp_path / "project"


@pytest.fixture
def job(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Train with settings and return the metrics."""

    def run(*settings: str) -> dict[str, float]:
        monkeypatch.chdir(tmp_path)
        for name, value in command_environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", [str(project / "train.py")])
        shutil.rmtree(tmp_path / "run", ignore_errors=True)  # of the job before
        assert main([*TINY, *settings, "hydra.run.dir=run"], project) == 0
        metrics: dict[str, float] = json.loads(
            (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")
        )
        return metrics

    return run


def add(project: Path, file: str, text: str, most_lines: int) -> None:
    """Write one file of the configuration, of at most so many lines."""
    assert len(text.splitlines()) <= most_lines
    assert not (project / "configs" / file).exists()
    (project / "configs" / file).write_text(text, encoding="utf-8")


def test_a_metric_is_one_config_file_of_4_lines(job: Job, project: Path, images: Path) -> None:
    text = "defaults: [multiclass, _self_]\nmetrics:\n  kappa:\n"
    text += "    _target_: torchmetrics.classification.MulticlassCohenKappa\n"
    add(project, "task/mine.yaml", text, most_lines=4)
    metrics = job("task=mine", f"data.root={images}", "monitor=val/kappa")
    assert -1 <= metrics["test/kappa"] <= 1
    assert {"test/accuracy", "val/kappa"} <= metrics.keys()


def test_a_loss_is_one_config_file_of_2_lines(job: Job, project: Path, images: Path, tmp_path: Path) -> None:
    add(project, "loss/margin.yaml", "_target_: torch.nn.MultiMarginLoss\nmargin: 0.5\n", most_lines=2)
    metrics = job("loss=margin", f"data.root={images}")
    assert 0.6 < metrics["val/loss"] < 0.8  # The plain cross-entropy, whatever was minimised.
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "metrics.csv").open(encoding="utf-8")))
    (margin,) = {float(row["train/loss"]) for row in rows if row["train/loss"]}
    assert 0 < margin < 0.4  # 0.25 where the logits are equal


def test_a_callback_is_one_config_file_of_4_lines(
    job: Job, project: Path, images: Path, tmp_path: Path
) -> None:
    text = "defaults: [default, _self_]\nstop:\n  _target_: lightning.pytorch.callbacks.EarlyStopping\n"
    text += "  monitor: val/loss\n"
    add(project, "callbacks/mine.yaml", text, most_lines=4)
    threshold = "+callbacks.stop.stopping_threshold=100.0"
    job("callbacks=mine", f"data.root={images}", threshold, "trainer.max_epochs=3")
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "metrics.csv").open(encoding="utf-8")))
    assert {row["epoch"] for row in rows if row["val/loss"]} == {"0"}  # It stopped after the first.


def test_an_augmentation_is_one_config_file_of_5_lines(job: Job, project: Path, images: Path) -> None:
    text = "defaults: [light, _self_]\ntransforms:\n  blur:\n"
    text += "    _target_: torchvision.transforms.v2.GaussianBlur\n    kernel_size: 5\n"
    add(project, "augmentation/mine.yaml", text, most_lines=5)
    settings = (f"data.root={images}", "freeze=false")
    blurred, plain = (job(f"augmentation={name}", *settings) for name in ("mine", "light"))
    assert blurred["test/loss"] != plain["test/loss"]


def test_any_module_is_a_backbone_by_the_command_line_alone(job: Job, images: Path) -> None:
    own = ("model=own", "model._target_=torchvision.ops.Conv2dNormActivation", "model.name=own")
    options = "+model.options={in_channels: 3, out_channels: 8}"
    metrics = job(*own, options, f"data.root={images}", "freeze=false", "model.preprocessing.size=32")
    assert metrics["parameters/trainable"] == 3 * 8 * 9 + 8 + 8 + 2 * 8 + 2


def write_table(file: Path, images: Path, columns: dict[str, Callable[[str, int], object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", *columns])
        for number, path in enumerate(sorted(images.glob("*/*.jpg"))):
            name = path.relative_to(images).as_posix()
            writer.writerow([name, *(value(path.parent.name, number) for value in columns.values())])


def test_labels_come_from_a_table_by_the_command_line_alone(job: Job, images: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", images, {"shade": lambda name, _: name})
    table = ("data=table", f"data.file={tmp_path / 'labels.csv'}", f"data.root={images}", "data.target=shade")
    of_table, of_folder = job(*table), job(f"data.root={images}")
    assert of_table | {"seconds": 0} == of_folder | {"seconds": 0}


def test_several_labels_an_image_by_the_command_line_alone(job: Job, images: Path, tmp_path: Path) -> None:
    columns = {"dark": lambda name, _: int(name == "dark"), "odd": lambda _, number: number % 2}
    write_table(images / "labels.csv", images, columns)
    metrics = job(
        "task=multilabel", "data=table", f"data.file={images / 'labels.csv'}", "data.target=[dark,odd]"
    )
    assert {"test/average_precision", "test/f1", "threshold/dark", "threshold/odd"} <= metrics.keys()
    header = (tmp_path / "run" / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "path,labels,predicted,dark,odd"


def test_a_number_instead_of_a_class_by_the_command_line_alone(
    job: Job, images: Path, tmp_path: Path
) -> None:
    columns = {"light": lambda name, number: 100 * (name == "light") + number}
    write_table(images / "labels.csv", images, columns)
    metrics = job("task=regression", "data=table", f"data.file={images / 'labels.csv'}", "data.target=light")
    assert {"test/mae", "test/rmse", "test/r2", "test/spearman"} <= metrics.keys()
    assert 0 < metrics["test/mae"] < 200
    header = (tmp_path / "run" / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "path,light,predicted light"


def test_thirteen_bands_by_the_command_line_alone(job: Job, script: Command, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, shade in (("forest", 3000), ("water", 9000)):
        (tmp_path / "tiles" / name).mkdir(parents=True)
        for number in range(10):
            tile = generator.normal(shade, 500, (13, 40, 40)).clip(0).astype(np.uint16)
            np.save(tmp_path / "tiles" / name / f"{number}.npy", tile)
    metrics = job(
        "data=folder", f"data.root={tmp_path / 'tiles'}", "data.channels=13", "trainer.max_epochs=4"
    )
    assert metrics["test/accuracy"] == 1.0
    files = (f"data.root={tmp_path / 'tiles'}", f"data.splits={tmp_path / 'run' / 'splits.csv'}")
    result = script("evaluate.py", f"checkpoint={tmp_path / 'run'}", *files)
    assert result.returncode == 0, result.stderr
    assert "accuracy  1.0000" in result.stdout
    assert "3 images of" in result.stdout


SOURCE = '''"""Tiny networks."""

from typing import Any

from torch import nn

from graft.models.backbones.network import BuiltNetwork
from graft.preprocessing import Preprocessing


def names() -> list[str]:
    return ["tiny"]


def size_option(name: str, size: int) -> dict[str, Any] | None:
    return None


def build(name: str, weights: Any, options: dict[str, Any]) -> BuiltNetwork:
    features = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(*features, nn.Linear(8, 9))
    preprocessing = Preprocessing((32,), (32, 32), "bilinear", True, (0.5,) * 3, (0.2,) * 3)
    return BuiltNetwork(network, name, options, "random", preprocessing, classifiers=("4",))
'''


def test_a_source_of_backbones_is_one_python_file_and_one_config_file(tmp_path: Path, images: Path) -> None:
    project = tmp_path / "project"
    for name in ("src", "configs"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "train.py", project)
    sources = project / "src" / "graft" / "models" / "backbones" / "sources"
    (sources / "mine.py").write_text(SOURCE, encoding="utf-8")
    add(project, "model/mine.yaml", "defaults: [any, _self_]\nsource: mine\nname: tiny\n", most_lines=3)
    settings = [setting for setting in TINY if not setting.startswith("model")]
    settings += ["model=mine", "model.weights=null", f"data.root={images}", "freeze=false"]
    run = subprocess.run(
        [sys.executable, "project/train.py", *settings, "hydra.run.dir=run"],
        cwd=tmp_path,
        env=command_environment(tmp_path) | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    assert "network    tiny (mine)" in run.stdout
    assert os.path.exists(tmp_path / "run" / "checkpoints" / "best.ckpt")  # noqa: PTH110
