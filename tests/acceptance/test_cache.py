"""`scripts/cache.py` shows what is stored, and removes it."""

import gc
from pathlib import Path

import pytest

from graft.data.cache_folders import Cache, Use, cache_folders
from graft.training.run import train
from tests.conftest import Command, MakeConfig


@pytest.fixture
def cache(script: Command) -> Command:
    """Run `scripts/cache.py ...`."""
    return lambda *arguments, **environment: script("cache.py", *arguments, **environment)


def test_features_and_images_are_listed_and_removed_unless_they_are_being_filled(
    cache: Command, make_config: MakeConfig, tmp_path: Path
) -> None:
    assert "0.0 MB" in cache().stdout
    train(make_config("trainer.max_epochs=1", "features.views=2", "data.cache=disk"))
    listed = cache().stdout
    assert "test_efficientnet" in listed
    assert "32x32 pixels, float32" in listed
    assert "decoded images, 37 pixels a side, bicubic" in listed
    gc.collect()  # A run's marks go with its objects.
    (folder,) = cache_folders(tmp_path / "cache" / "features")
    used = Use(folder.path, Cache(tmp_path / "cache", 1))
    assert "in use, kept" in cache("action=clear").stdout
    del used
    assert "removed" in cache("action=clear").stdout
    assert not folder.path.exists()
    assert not list((tmp_path / "cache" / "images").glob("*/*"))


def test_a_mistake_is_one_line(cache: Command) -> None:
    found = cache("action=clean")
    assert found.returncode == 2
    assert found.stderr == "error: action=clean: write list or clear.\n"
