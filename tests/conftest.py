"""Tiny real picture folders, and the command run as a person runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
MakeFolder = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]


def write_pictures(folder: Path, count: int, shade: int, seed: int) -> None:
    """Write `count` noisy 40x48 JPEGs around a grey value."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        pixels = chance.normal(shade, 30, (40, 48, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.jpg")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two classes, 12 pictures each, that a linear head can tell apart."""
    root = tmp_path / "pictures"
    write_pictures(root / "dark", 12, 80, seed=1)
    write_pictures(root / "light", 12, 180, seed=2)
    return root


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `python train.py ...` from another folder, with caches of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(PROJECT / "train.py"), *arguments],
            cwd=tmp_path,
            env=command_environment(tmp_path) | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def command_environment(tmp_path: Path) -> dict[str, str]:
    """The environment with Graft's and torch's caches in `tmp_path`, one thread a process."""
    return os.environ | {
        "GRAFT_CACHE": str(tmp_path / "cache"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "OMP_NUM_THREADS": "1",
    }
