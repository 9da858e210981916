"""What is found in a folder, in both layouts, and what is refused."""

import logging
import re
from pathlib import Path

import pytest

from graft.data.checks import inspect_pictures
from graft.data.folder import scan_folder, with_metadata
from graft.errors import UserError


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_classes_are_folders_and_order_does_not_depend_on_the_disk(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "b/2.png", "a/1.jpg", "a/deep/0.JPG", "b/1.png"))
    assert [s.path for s in samples] == ["a/1.jpg", "a/deep/0.JPG", "b/1.png", "b/2.png"]
    assert [s.class_name for s in samples] == ["a", "a", "b", "b"]
    assert {s.split for s in samples} == {None}


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_split_folders_are_recognised_by_their_usual_names(tmp_path: Path, name: str) -> None:
    samples = scan_folder(
        touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{name}/b/1.jpg", "test/a/1.jpg")
    )
    assert [s.split for s in samples if s.path.startswith(name)] == ["val"]
    assert {s.split for s in samples} == {"train", "val", "test"}


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/.2.jpg", ".git/x.jpg"))
    assert len(samples) == 2


def test_files_that_are_no_pictures_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/notes.txt", "b/film.mpg"))
    assert "2 files are no pictures" in caplog.text
    assert "a/notes.txt" in caplog.text


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a/notes.txt"], "no pictures"),
        (["a/1.jpg", "b/1.jpg", "loose.jpg"], "loose.jpg"),
        (["train/a/1.jpg", "train/loose.jpg"], "loose.jpg"),
        (["val/a/1.jpg", "val/b/1.jpg"], "no train folder"),
        (["train/a/1.jpg", "train/b/1.jpg", "c/1.jpg"], "c/1.jpg"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, paths: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        scan_folder(touch(tmp_path, *paths))


def test_a_link_to_a_folder_above_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    with caplog.at_level(logging.WARNING):
        assert [s.path for s in scan_folder(tmp_path)] == ["a/1.jpg", "b/1.jpg"]
    assert "a/loop is a link" in caplog.text


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "root/a/1.jpg", "elsewhere/1.jpg")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [s.path for s in scan_folder(tmp_path / "root")] == ["a/1.jpg", "b/1.jpg"]


def test_a_link_to_itself_is_an_unreadable_picture(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "2.jpg").symlink_to(tmp_path / "a" / "2.jpg")
    assert len(scan_folder(tmp_path)) == 2
    assert list(inspect_pictures([tmp_path / "a" / "2.jpg"], tmp_path / "seen.tsv")[1])


def test_metadata_that_is_no_text_is_named(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xd8\x00")
    with pytest.raises(UserError, match=r"metadata\.csv cannot be read as a table"):
        with_metadata(tmp_path, samples, "wafer", None)


def test_a_missing_folder_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="Did you mean 'pictures'"):
        scan_folder(tmp_path / "picturs")


def test_metadata_gives_strata_and_units(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_text(
        "path,wafer,patient\na/1.jpg,mono,p1\nb/1.jpg,poly,p2\n", encoding="utf-8"
    )
    found = with_metadata(tmp_path, samples, "wafer", "patient")
    assert [(s.stratum, s.unit) for s in found] == [("mono", "p1"), ("poly", "p2")]


def test_a_missing_column_or_row_is_named(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_text("path,wafer\na/1.jpg,mono\n", encoding="utf-8")
    with pytest.raises(UserError, match="Did you mean 'wafer'"):
        with_metadata(tmp_path, samples, "waver", None)
    with pytest.raises(UserError, match=r"no row for 1 pictures.*b/1\.jpg"):
        with_metadata(tmp_path, samples, "wafer", None)
