"""Features and decoded images share one limit; the oldest go first, and never what a process uses."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from graft.data.cache_folders import Cache, Use, cache_folders, remove

KB = 1000


def fill(cache: Cache, folder: Path, size: int, age: int = 0) -> Use:
    """Fill a folder with `size` bytes beside its recipe, last used `age` seconds ago."""
    with cache.filling(folder, {}) as use:
        (folder / "contents").write_bytes(bytes(size))
        time = (folder / "recipe.json").stat().st_mtime - age
        os.utime(folder / "recipe.json", (time, time))
    return use


def present(cache: Cache) -> set[str]:
    return {folder.path.name for folder in cache_folders(cache.features) + cache_folders(cache.images)}


def test_features_and_images_together_stay_below_the_limit_and_the_oldest_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 250 * KB / 1e9)
    fill(cache, cache.features / "old", 100 * KB, age=300)
    fill(cache, cache.images / "older", 100 * KB, age=400)
    fill(cache, cache.images / "new", 100 * KB)
    assert present(cache) == {"old", "new"}


def test_what_is_used_stays_beyond_the_limit_and_goes_once_it_is_free(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 150 * KB / 1e9)
    first = fill(cache, cache.features / "first", 100 * KB, age=300)
    second = fill(cache, cache.images / "second", 100 * KB)
    assert present(cache) == {"first", "second"}
    del first  # The limit is kept as soon as something can go, without another run.
    assert present(cache) == {"second"}
    del second
    assert present(cache) == {"second"}


def test_a_folder_that_two_use_stays_until_both_are_done(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1)
    one = fill(cache, cache.features / "shared", 10)
    two = fill(cache, cache.features / "shared", 10)
    (folder,) = cache_folders(cache.features)
    del one
    assert not remove(folder)
    del two
    assert remove(folder)


def use_until_told(root: Path, told: Connection) -> None:
    cache = Cache(root, 1)
    use = fill(cache, cache.features / "theirs", 10)
    told.send("filled")
    told.recv()
    del use


def test_a_folder_of_another_process_stays_until_that_process_is_killed(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    job = multiprocessing.get_context("fork").Process(target=use_until_told, args=(tmp_path, there))
    job.start()
    here.recv()
    (folder,) = cache_folders(Cache(tmp_path, 1).features)
    assert not remove(folder)
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    assert remove(folder)
