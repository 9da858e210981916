"""`scripts/cache.py` shows what is stored, and removes it."""

import gc  # room: features
from pathlib import Path

import pytest

from graft.data.cache_folders import Cache, Use, cache_folders  # room: features
from tests.conftest import Command, MakeConfig
from tests.conftest import trained as train  # room: features


@pytest.fixture
def cache(script: Command) -> Command:
    """Run `scripts/cache.py ...`."""
    return lambda *arguments, **environment: script("cache.py", *arguments, **environment)


def test_stored_things_are_listed_and_removed(  # room: features
    cache: Command,  # room: features
    make_config: MakeConfig,  # room: features
    tmp_path: Path,  # room: features
) -> None:  # room: features
    assert "0.0 MB" in cache().stdout  # room: features
    train(make_config("trainer.max_epochs=1", "features.views=2", "data.cache=disk"))  # room: features
    listed = cache().stdout  # room: features
    assert "test_efficientnet" in listed  # room: features
    assert "32x32 pixels, float32" in listed  # room: features
    assert "decoded images, 37 pixels per side, bicubic" in listed  # room: features
    gc.collect()  # A run's marks go with its objects.  # room: features
    (folder,) = cache_folders(tmp_path / "cache" / "features")  # room: features
    used = Use(folder.path, Cache(tmp_path / "cache", 1))  # room: features
    assert "in use, kept" in cache("action=clear").stdout  # room: features
    del used  # room: features
    assert "removed" in cache("action=clear").stdout  # room: features
    assert not folder.path.exists()  # room: features
    assert not list((tmp_path / "cache" / "images").glob("*/*"))  # room: features


def test_a_mistake_is_one_line(cache: Command) -> None:
    found = cache("action=clean")
    assert found.returncode == 2
    assert found.stderr == "error: action=clean: write list or clear.\n"
