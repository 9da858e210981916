"""Checkpoint files are whole or not there, and reading one runs no code."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from graft.errors import UserError
from graft.models.checkpoints import (
    AtomicCheckpointIO,
    lock,
    read_checkpoint,
    remove_abandoned_checkpoints,
    save_atomically,
)

WRITER = """
import sys, torch
from graft.models.checkpoints import AtomicCheckpointIO
io, number = AtomicCheckpointIO(), 0
while True:
    number += 1
    io.save_checkpoint({"graft": number, "weights": torch.full((400_000,), float(number))}, sys.argv[1])
    print(number, flush=True)
"""


def test_a_kill_in_the_middle_of_saving_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for attempt in range(8):
        process.stdout.readline()
        time.sleep(0.0007 * attempt)  # Another moment of the saving each time.
        os.kill(process.pid, signal.SIGSTOP)
        found = read_checkpoint(path)
        assert (found["weights"] == float(found["graft"])).all()
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.wait()
    assert (read_checkpoint(path)["weights"] == float(read_checkpoint(path)["graft"])).all()


def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"graft": 1}, path)
    with pytest.raises(AttributeError, match="local"):
        AtomicCheckpointIO().save_checkpoint({"graft": lambda: None}, path)
    assert read_checkpoint(path) == {"graft": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_have_left_is_removed_and_nothing_of_a_live_one(tmp_path: Path) -> None:
    for name in (".last.ckpt.abandoned", ".best.ckpt.abandoned", "last.ckpt", "notes.txt"):
        (tmp_path / name).write_bytes(b"half")
    with (tmp_path / ".last.ckpt.live").open("wb") as live:
        lock(live)
        remove_abandoned_checkpoints(tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == [
            ".last.ckpt.live",
            "last.ckpt",
            "notes.txt",
        ]
    remove_abandoned_checkpoints(tmp_path)
    assert not (tmp_path / ".last.ckpt.live").exists()


def test_a_file_that_is_being_written_is_locked(tmp_path: Path) -> None:
    names: list[str] = []

    class Watcher(dict[str, int]):
        def __reduce__(self) -> tuple[type[dict[str, int]], tuple[()]]:
            remove_abandoned_checkpoints(tmp_path)
            names.extend(file.name for file in tmp_path.iterdir())
            return dict, ()

    AtomicCheckpointIO().save_checkpoint({"graft": Watcher()}, tmp_path / "last.ckpt")
    assert [name.startswith(".last.ckpt.") for name in names] == [True]
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "text", "a word"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"graft": 1, "weights": torch.ones(1000)}, path)
    whole = path.read_bytes()
    content = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "flipped": whole[:60] + bytes(255 - byte for byte in whole[60:90]) + whole[90:],
        "text": b"no checkpoint",
        "a word": b"broken\n",  # To pickle, "b" is an instruction.
    }[damage]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt is damaged or no checkpoint"):
        read_checkpoint(path)


class Stranger:
    """Something that only unpickling with code could bring back."""


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"graft": Stranger()}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "bad.ckpt")


def test_plain_weights_are_told_where_they_belong(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"model\.weights=PATH"):
        read_checkpoint(tmp_path / "weights.pth")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no checkpoint .*nothing\.ckpt"):
        read_checkpoint(tmp_path / "nothing.ckpt")


def test_a_full_disk_is_one_line_and_leaves_what_was_saved_before(tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    save_atomically({"weights": torch.zeros(4)}, target)
    before = target.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # As a full disk does: writing fails.
    try:
        with pytest.raises(UserError, match=r"last\.ckpt cannot be written .*hydra\.run\.dir=DIR"):
            save_atomically({"weights": torch.zeros(1 << 20)}, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \((Not a directory|File exists)"):
        save_atomically({}, tmp_path / "file" / "last.ckpt")
