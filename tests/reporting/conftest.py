# room: reporting
"""Records of finished runs made by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from graft.data.resizing import with_image_size
from graft.data.sample import SPLITS, Sample
from graft.finished_run import FinishedRun, PhaseRecord
from graft.inference.runtimes import load_model
from graft.reporting.results import write_results
from graft.tasks import Target
from graft.tasks.task import Task
from graft.training.run import train
from tests.conftest import write_checkpoint

SETTINGS: dict[str, Any] = {
    "seed": 0,
    "report": True,
    "logger": {"tensorboard": None},
    "monitor": "val/loss",
    "freeze": True,
    "head": {"dropout": 0.0, "hidden": None},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.003},
    "scheduler": {"_target_": "graft.training.schedulers.cosine", "warmup": 0.05},
    "finetuning": {"schedule": {"_target_": "graft.training.schedules.standard"}},
    "augmentation": {
        "_target_": "graft.data.transforms.Augmentation",
        "vertical_flip": 0.0,
        "transforms": {},
    },
    "loss": {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1},
    "regularisation": {"l2_sp": 0.0, "mixup": 0.0},
    "data": {"batch_size": 4, "balanced": False, "limit": None},
    "callbacks": {},
    "learning_rate": None,
    "calibrate": False,
    "trainer": {"max_steps": -1},
}


def reported(config: DictConfig) -> FinishedRun:
    """Train, and leave what the command leaves to look at."""
    run = train(config)
    write_results(run)
    return run


class MakeRecord:
    """Makes the record of a run whose splits are all the same images, one for each target.

    `logits` `[N, C]` are those of the test images; `fields` replace fields of the record.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self,
        task: Task,
        targets: Sequence[Target],
        logits: torch.Tensor,
        channels: int = 3,
        groups: Sequence[str] = (),
        **fields: Any,
    ) -> FinishedRun:
        paths = [write_image(self.root, number, channels) for number in range(len(targets))]
        groups = groups or [""] * len(targets)
        rows = list(zip(paths, targets, groups, strict=True))
        splits = {split: [Sample(p, t, split, group=g) for p, t, g in rows] for split in SPLITS}
        checkpoint = write_checkpoint(self.root / "best.ckpt", task=task, channels=channels)
        preprocessing = with_image_size(load_model(checkpoint).preprocessing, 32)
        values: dict[str, Any] = {
            "folder": self.root,
            "settings": SETTINGS,
            "overrides": ["data.root=a b"],
            "network": "test_efficientnet (timm)",
            "weights": "",
            "device": "cpu",
            "task": task,
            "root": self.root,
            "splits": splits,
            "preprocessing": preprocessing,
            "phases": [PhaseRecord("head", ("head",), 2, None, 0.003, None, 514)],
            "history": {"train/loss": {1: 0.9, 2: 0.6}, "val/loss": {1: 0.8, 2: 0.7}},
            "metrics": {"best_epoch": 2, "epoch": 2, "seconds": 3.5, "parameters/total": 99710},
            "logits": logits,
            "targets": torch.stack([task.encode(target) for target in targets]),
            "checkpoint": checkpoint,
        }
        return FinishedRun(**(values | fields))


def write_image(folder: Path, number: int, channels: int) -> str:
    """Write an image of one value: a PNG, or an array of 8-bit bands."""
    pixels = np.full((40, 40, channels), number % 256, dtype=np.uint8)
    if channels == 3:
        Image.fromarray(pixels).save(folder / f"{number}.png")
        return f"{number}.png"
    np.save(folder / f"{number}.npy", pixels)
    return f"{number}.npy"


@pytest.fixture
def make_record(tmp_path: Path) -> MakeRecord:
    return MakeRecord(tmp_path)
