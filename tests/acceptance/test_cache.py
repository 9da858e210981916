"""`scripts/cache.py` shows what is stored, and removes it."""

from pathlib import Path

import pytest
from filelock import FileLock

from graft.cache_folders import cache_folders, lock_of
from graft.training.run import train
from tests.conftest import Command, MakeConfig


@pytest.fixture
def cache(script: Command) -> Command:
    """Run `scripts/cache.py ...`."""
    return lambda *arguments, **environment: script("cache.py", *arguments, **environment)


def test_features_and_pictures_are_listed_and_removed_unless_they_are_being_filled(
    cache: Command, make_config: MakeConfig, tmp_path: Path
) -> None:
    assert "0.0 MB" in cache().stdout
    train(make_config("trainer.max_epochs=1", "features.views=2", "data.cache=disk"))
    listed = cache().stdout
    assert "test_efficientnet" in listed
    assert "32x32 pixels, float32" in listed
    assert "decoded pictures, 37 pixels a side, bicubic" in listed
    (folder,) = cache_folders(tmp_path / "cache" / "features")
    with FileLock(lock_of(folder.path)):
        assert "in use, kept" in cache("action=clear").stdout
    assert "removed" in cache("action=clear").stdout
    assert not folder.path.exists()
    assert not list((tmp_path / "cache" / "pictures").glob("*/*"))


def test_a_mistake_is_one_line(cache: Command) -> None:
    found = cache("action=clean")
    assert found.returncode == 2
    assert found.stderr == "error: action=clean: list or clear is expected.\n"
