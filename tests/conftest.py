"""Tiny real image folders, and the command run as a person runs it."""

import contextlib
import io
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import absl.logging
import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from graft.data.labelled_images import read_labelled_images
from graft.data.module import ImageDataModule
from graft.data.resizing import with_image_size
from graft.data.sample import Sample
from graft.data.sources.folder import Folder
from graft.data.transforms import Augmentation
from graft.models.backbones import build_backbone, build_head
from graft.models.checkpoints import DESCRIPTION, WEIGHTS_PREFIX, AtomicCheckpointIO, describe
from graft.models.classifier import Classifier
from graft.models.freezing import Phase
from graft.preprocessing import Preprocessing
from graft.tasks.task import Task, task_from
from graft.training.lightning_internals import end_after
from graft.training.module import Position, TransferModule
from graft.training.optimizers import LearningRates
from graft.training.run import train
from graft.training.schedulers import constant

# Configuring logging anew, as Hydra does, makes absl close its stream unless that is the process's own:
# pytest's captured one would be closed for all tests that follow.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

PROJECT = Path(__file__).resolve().parent.parent
MakeFolder = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]
MakeConfig = Callable[..., DictConfig]


def write_images(folder: Path, count: int, shade: int, seed: int) -> None:
    """Write `count` noisy 40x48 JPEGs around a grey value."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        pixels = chance.normal(shade, 30, (40, 48, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.jpg")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes, 12 images each, that a linear head can tell apart."""
    root = tmp_path / "images"
    write_images(root / "dark", 12, 80, seed=1)
    write_images(root / "light", 12, 180, seed=2)
    return root


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a tiny network with random weights for `images`, whose labels are mixed."""
    return write_checkpoint(tmp_path / "tiny.ckpt", ["dark", "light"])


def task_of(name: str, columns: Sequence[str], **values: Any) -> Task:
    """A task with the metrics of `configs/task/NAME.yaml`; `values` are further fields of its class."""
    settings: Any = OmegaConf.to_container(OmegaConf.load(PROJECT / "configs" / "task" / f"{name}.yaml"))
    settings = settings.get("task", settings)
    return task_from(
        {"_target_": settings["_target_"], "metrics": settings["metrics"], "columns": list(columns), **values}
    )


def make_module(
    classifier: Classifier,
    *phases: Phase,
    scheduler: Any = constant,
    optimizer: Any = torch.optim.Adam,
    rates: LearningRates | None = None,
    loss: nn.Module | None = None,
    module_class: type[TransferModule] = TransferModule,
    **settings: Any,
) -> TransferModule:
    """A module for 3 classes."""
    return module_class(
        classifier,
        task_of("multiclass", ("a", "b", "c")),
        loss or nn.CrossEntropyLoss(),
        optimizer,
        scheduler,
        rates or LearningRates(0.1),
        phases,
        **settings,
    )


def fit_phases(module: TransferModule, *loaders: Any) -> None:
    """Fit phase after phase with one Trainer."""
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    for number, phase in enumerate(module.phases):
        module.begin(Position(number, trainer.current_epoch, trainer.global_step))
        end_after(trainer, trainer.current_epoch + phase.epochs)
        trainer.fit(module, *loaders)


def trained(config: DictConfig) -> dict[str, float]:
    """Run `train` and return the metrics."""
    return dict(train(config).metrics)


def make_sample(path: str, class_name: str, split: str | None = None, **fields: Any) -> Sample:
    return Sample(path, (class_name,), split, stratum=class_name, **fields)


def scan_folder(root: Path, layout: str = "auto", needs_train: bool = True, **settings: Any) -> list[Sample]:
    return Folder(str(root), layout, **settings).read(task_of("multiclass", ()), needs_train)


def make_data_module(
    root: Path, preprocessing: Preprocessing, augmentation: Augmentation, **settings: Any
) -> ImageDataModule:
    """A data module of a folder of classes, 0 workers unless `settings` (those of `data`) say otherwise."""
    held: dict[str, Any] = {}
    for name in ("_images", "folder"):
        file = PROJECT / "configs" / "data" / f"{name}.yaml"
        loaded: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        held |= loaded
    held |= {"root": str(root), "num_workers": 0, "seed": 0, "cache_limit_gb": 20, "target": "class"}
    held["cache_dir"] = f"{root}.cache"
    held |= settings
    images = read_labelled_images(held, settings.pop("task", None) or task_of("multiclass", ()))
    loading = ("batch_size", "num_workers", "seed", "balanced", "cache", "cache_dir", "cache_limit_gb")
    return ImageDataModule(
        images,
        images.preprocessing(preprocessing, held["image_size"], held["fit"]),
        augmentation,
        **{key: held[key] for key in loading},
    )


def write_checkpoint(
    path: Path, columns: Sequence[str] = (), task: Task | None = None, channels: int = 3
) -> Path:
    """Write a checkpoint of test_efficientnet, 32 pixels, random weights, as a run would.

    Its task is multiclass with the classes `columns` unless a `task` is given.
    """
    torch.manual_seed(0)
    task = task or task_of("multiclass", columns)
    backbone = build_backbone("timm", "test_efficientnet", weights=None, channels=channels)
    head: dict[str, Any] = {"dropout": 0.0, "hidden": None}
    classifier = Classifier(backbone, build_head(backbone, len(task.columns), **head))
    last = next(layer for layer in classifier.head.modules() if isinstance(layer, torch.nn.Linear))
    with torch.no_grad():
        shades = torch.linspace(-2, 2, 16).reshape(16, 1, 1, 1)
        logits = classifier.eval()(shades + 0.5 * torch.randn(16, channels, 32, 32))
        spread = logits.std(dim=0)
        last.weight.div_(spread[:, None])
        last.bias.sub_(logits.mean(dim=0)).div_(spread)
    preprocessing = with_image_size(backbone.preprocessing, 32)
    if channels != 3:
        preprocessing = replace(preprocessing, mean=(0.5,) * channels, std=(0.2,) * channels)
    description = describe(backbone, head, task.describe(), preprocessing)
    weights = {WEIGHTS_PREFIX + name: value for name, value in classifier.state_dict().items()}
    AtomicCheckpointIO().save_checkpoint({DESCRIPTION: description, "state_dict": weights}, path)
    return path


@pytest.fixture
def make_config(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeConfig:
    """Compose the settings of a tiny run in this process: 32 pixels, random weights, no workers.

    Neither TensorBoard nor a report, which would take longer than the training, unless they are asked for.
    """
    monkeypatch.setenv("GRAFT_ROOT", str(tmp_path))
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # A command before in this process sets it.

    def make(*overrides: str, run: str = "run", board: bool = False) -> DictConfig:
        tiny = ["model=timm", "model.name=test_efficientnet", "model.weights=null", "data=folder"]
        tiny += [f"data.root={images}", "data.image_size=32", "data.batch_size=4"]
        tiny += [f"paths.run={tmp_path / run}", "trainer.max_epochs=2"]
        tiny += ["report=false"]  # room: reporting
        if not board and not any(setting.startswith("logger=") for setting in overrides):
            tiny += ["logger.tensorboard=null"]
        with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
            return compose("train", overrides=[*tiny, *overrides])

    return make


class KeepCheckpoints(L.Callback):
    """Keeps a copy of the checkpoint that every epoch begins from, `epoch1.ckpt`, `epoch2.ckpt`, ..."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy what the epoch before has left."""
        del pl_module
        if (self.folder / "last.ckpt").exists():
            last = self.folder / "last.ckpt"
            shutil.copyfile(last, self.folder / f"epoch{trainer.current_epoch}.ckpt")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `train.py ...` in this process from another folder, with caches and run folders of its own."""
    return lambda *arguments, **environment: run_in_process(
        "train.py", with_own_logs(arguments), tmp_path, monkeypatch, environment
    )


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `scripts/NAME.py ...` in this process from another folder: `script("predict.py", ...)`."""
    return lambda name, *arguments, **environment: run_in_process(
        f"scripts/{name}", arguments, tmp_path, monkeypatch, environment
    )


@pytest.fixture
def process(tmp_path: Path) -> Command:
    """Run `train.py ...` in a process of its own, for what only one can show; it takes seconds to start."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(PROJECT / "train.py"), *with_own_logs(arguments)],
            cwd=tmp_path,
            env=command_environment(tmp_path) | environment,
            capture_output=True,
            encoding="utf-8",
        )

    return run


def with_own_logs(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Keep the runs of tests out of the project's own folder."""
    folders = ("hydra.run.dir=", "hydra.sweep.dir=", "paths.logs=")
    is_named = any(argument.startswith(folders) for argument in arguments)
    return arguments if is_named else (*arguments, "paths.logs=logs")


def run_in_process(
    file: str,
    arguments: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
) -> subprocess.CompletedProcess[str]:
    """Call the `main` that the file calls and return what a process would have."""
    script = str(PROJECT / file)
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script, *arguments])
        for name, value in (command_environment(folder) | environment).items():
            patch.setenv(name, value)
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as end,
        ):
            runpy.run_path(script, run_name="__main__")
    texts = [stream.buffer.getvalue().decode("utf-8") for stream in (output, errors)]
    assert isinstance(end.value.code, int)
    return subprocess.CompletedProcess([script, *arguments], end.value.code, *texts)


def command_environment(tmp_path: Path) -> dict[str, str]:
    """The environment with Graft's and torch's caches in `tmp_path`, one thread a process."""
    return os.environ | {
        "GRAFT_CACHE": str(tmp_path / "cache"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "OMP_NUM_THREADS": "1",
    }


def run_checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """Return a checkpoint in a run's folder."""
    found: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return found


def assert_equal(a: Any, b: Any, path: str = "") -> None:
    """Assert that two nests of containers, tensors and numbers are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}[{number}]")
    else:
        assert a == b, path


STATE = (
    "state_dict",
    "raw_state_dict",
    "optimizer_states",
    "lr_schedulers",
    "epoch",
    "global_step",
    "callbacks",
)
