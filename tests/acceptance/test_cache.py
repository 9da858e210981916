"""`scripts/cache.py` shows what is stored, and removes it."""

import gc
from pathlib import Path

from graft.cache_folders import Cache, Use, cache_folders
from graft.training.run import train
from tests.conftest import Command, MakeConfig


def test_features_and_pictures_are_listed_and_removed_unless_they_are_being_filled(
    script: Command, make_config: MakeConfig, tmp_path: Path
) -> None:
    assert "0.0 MB" in script("cache").stdout
    train(make_config("trainer.max_epochs=1", "features.views=2", "data.cache=disk"))
    listed = script("cache").stdout
    assert "test_efficientnet" in listed
    assert "32x32 pixels, float32" in listed
    assert "decoded images, 37 pixels a side, bicubic" in listed
    gc.collect()  # A run's marks go with its objects.
    (folder,) = cache_folders(tmp_path / "cache" / "features")
    used = Use(folder.path, Cache(tmp_path / "cache", 1))
    assert "in use, kept" in script("cache", "action=clear").stdout
    del used
    assert "removed" in script("cache", "action=clear").stdout
    assert not folder.path.exists()
    assert not list((tmp_path / "cache" / "images").glob("*/*"))


def test_a_mistake_is_one_line(script: Command) -> None:
    found = script("cache", "action=clean")
    assert found.returncode == 2
    assert found.stderr == "error: action=clean: list or clear is expected.\n"
