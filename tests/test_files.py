"""A file is written whole, or what was there before stays."""

import resource
from pathlib import Path

import pytest

from graft.files import replacing


def test_a_disk_that_is_full_leaves_the_file_as_it_was_and_is_named(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores its signal: writing fails with EFBIG.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught, replacing(target) as file:
            file.write(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "before"


def test_a_folder_that_is_missing_is_named_by_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught, replacing(tmp_path / "no" / "file"):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "file")


def test_others_may_read_a_written_file_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with replacing(tmp_path / "written") as file:
        file.write(b"")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode
