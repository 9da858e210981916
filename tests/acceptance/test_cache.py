"""`scripts/cache.py` shows what is stored, and removes it."""

import gc
import os
import subprocess
import sys
from pathlib import Path

from graft.cache_folders import Cache, Use, cache_folders
from graft.training.run import train
from tests.conftest import PROJECT, MakeConfig


def cache(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "scripts" / "cache.py"), *arguments]
    environment = os.environ | {"GRAFT_CACHE": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_features_and_pictures_are_listed_and_removed_unless_they_are_being_filled(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    assert "0.0 MB" in cache(tmp_path / "cache").stdout
    train(make_config("trainer.max_epochs=1", "features.views=2", "data.cache=disk"))
    listed = cache(tmp_path / "cache").stdout
    assert "test_efficientnet" in listed
    assert "32x32 pixels, float32" in listed
    assert "decoded images, 37 pixels a side, bicubic" in listed
    gc.collect()  # A run's marks go with its objects.
    (folder,) = cache_folders(tmp_path / "cache" / "features")
    used = Use(folder.path, Cache(tmp_path / "cache", 1))
    assert "in use, kept" in cache(tmp_path / "cache", "action=clear").stdout
    del used
    assert "removed" in cache(tmp_path / "cache", "action=clear").stdout
    assert not folder.path.exists()
    assert not list((tmp_path / "cache" / "images").glob("*/*"))


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    found = cache(tmp_path, "action=clean")
    assert found.returncode == 2
    assert found.stderr == "error: action=clean: list or clear is expected.\n"
