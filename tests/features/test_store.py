# room: features
"""Rows come back as they were stored; what is damaged counts as missing and is said."""

import hashlib
import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from graft.features.store import HEADER, KEY, FeatureStore

WIDTH = 5


def keys(*names: int) -> np.ndarray:
    digests = [hashlib.blake2b(str(name).encode(), digest_size=16).digest() for name in names]
    return np.frombuffer(b"".join(digests), KEY)


def rows(*names: int) -> np.ndarray:
    return np.stack([np.full(WIDTH, name, np.float32) + np.arange(WIDTH) / 8 for name in names])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore(tmp_path / "store", WIDTH, "float32")
    made.add(keys(1, 2, 3), rows(1, 2, 3))
    made.add(keys(4), rows(4))
    made.refresh()
    return made


def test_rows_come_back_in_the_order_asked_for(store: FeatureStore) -> None:
    wanted = (4, 1, 3, 1)
    assert np.array_equal(store.read(store.locate(keys(*wanted))), rows(*wanted))


def test_keys_that_are_not_there_have_no_location(store: FeatureStore) -> None:
    assert (store.locate(keys(9, 2, 8))[:, 0] >= 0).tolist() == [False, True, False]


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    assert (FeatureStore(tmp_path / "new", WIDTH, "float32").locate(keys(1, 2)) == -1).all()


def test_keys_that_end_in_zero_bytes_are_told_apart(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "zeros", WIDTH, "float32")
    found = np.frombuffer(b"a" * 15 + b"\0" + b"a" * 14 + b"\0\0", KEY)
    store.add(found, rows(1, 2))
    store.refresh()
    assert np.array_equal(store.read(store.locate(found)), rows(1, 2))


def test_another_process_finds_what_was_added(store: FeatureStore) -> None:
    other = FeatureStore(store.folder, WIDTH, "float32")
    store.add(keys(5), rows(5))
    assert (other.locate(keys(5)) == -1).all()
    other.refresh()
    assert np.array_equal(other.read(other.locate(keys(5))), rows(5))


def test_halves_are_stored_in_half_the_room(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "halves", WIDTH, "float16")
    store.add(keys(1, 2), rows(1, 2))
    store.refresh()
    (file,) = store.folder.iterdir()
    assert file.stat().st_size == HEADER.size + 2 * (KEY.itemsize + WIDTH * 2)
    assert np.allclose(store.read(store.locate(keys(2))), rows(2), atol=1e-2)


@pytest.mark.parametrize("damage", ["truncated", "flipped row", "flipped key", "empty", "garbage"])
def test_a_damaged_segment_is_deleted_and_its_rows_are_missing(
    store: FeatureStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    larger = max(store.folder.iterdir(), key=lambda file: file.stat().st_size)
    contents = bytearray(larger.read_bytes())
    if damage.startswith("flipped"):
        contents[-3 if damage == "flipped row" else HEADER.size + 2] ^= 4
    elif damage == "garbage":
        contents[:8] = b"notgraft"
    larger.write_bytes(contents if damage not in ("truncated", "empty") else contents[: len(contents) // 2])
    if damage == "empty":
        larger.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        again = FeatureStore(store.folder, WIDTH, "float32")
        found = again.locate(keys(1, 2, 3, 4))[:, 0] >= 0
    assert found.tolist() == [False, False, False, True]
    assert "is damaged" in caplog.text
    assert not larger.exists()


def test_a_segment_that_cannot_be_read_now_is_an_error_and_stays(store: FeatureStore) -> None:
    (store.folder / "gone.rows").symlink_to("nothing")  # As if another process had just removed it.
    assert len(FeatureStore(store.folder, WIDTH, "float32").segments) == 2
    unreadable = store.folder / "unreadable.rows"
    unreadable.symlink_to(unreadable)
    with pytest.raises(OSError, match="symbolic links"):
        FeatureStore(store.folder, WIDTH, "float32")
    assert unreadable.is_symlink()


def test_what_an_interrupted_write_leaves_is_not_read(store: FeatureStore) -> None:
    (store.folder / "tmp123.part").write_bytes(b"half")
    assert len(FeatureStore(store.folder, WIDTH, "float32").segments) == 2


def add_some(folder: Path, first: int) -> None:
    store = FeatureStore(folder, WIDTH, "float32")
    for name in range(first, first + 20):
        store.add(keys(name), rows(name))


def test_two_processes_that_add_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_some, args=(tmp_path / "both", first)) for first in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wanted = [*range(20), *range(100, 120)]
    store = FeatureStore(tmp_path / "both", WIDTH, "float32")
    assert np.array_equal(store.read(store.locate(keys(*wanted))), rows(*wanted))
