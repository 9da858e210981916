"""What is found in a folder, in both layouts, and what is refused."""

import logging
import os
import re
from pathlib import Path

import pytest

from graft.data.checks import inspect_images
from graft.data.sources.folder import with_metadata
from graft.data.splits_file import read_splits
from graft.data.transforms import Augmentation
from graft.errors import UserError
from graft.inference.search import find_images
from graft.preprocessing import Preprocessing
from tests.conftest import make_data_module, scan_folder, task_of, write_images

SMALL = Preprocessing((20,), (16, 16), "bilinear", True, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_classes_are_folders_and_order_does_not_depend_on_the_disk(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "b/2.png", "a/1.jpg", "a/deep/0.JPG", "b/1.png"))
    assert [s.path for s in samples] == ["a/1.jpg", "a/deep/0.JPG", "b/1.png", "b/2.png"]
    assert [s.target[0] for s in samples] == ["a", "a", "b", "b"]
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


def test_files_that_are_no_images_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/notes.txt", "b/film.mpg"))
    assert "2 files are no images" in caplog.text
    assert "a/notes.txt" in caplog.text


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a/notes.txt"], "no images"),
        (["a/1.jpg", "b/1.jpg", "loose.jpg"], "loose.jpg"),
        (["train/a/1.jpg", "train/loose.jpg"], "loose.jpg"),
        (["val/a/1.jpg", "val/b/1.jpg"], "no train folder"),
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


def test_a_link_to_itself_is_an_unreadable_image(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "2.jpg").symlink_to(tmp_path / "a" / "2.jpg")
    assert len(scan_folder(tmp_path)) == 2
    assert list(inspect_images([tmp_path / "a" / "2.jpg"], tmp_path / "seen.tsv")[1])


def test_metadata_that_is_no_text_is_named(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xd8\x00")
    with pytest.raises(UserError, match=r"metadata\.csv cannot be read as a table"):
        with_metadata(tmp_path, samples, "wafer", None)


def test_a_missing_folder_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="Did you mean 'images'"):
        scan_folder(tmp_path / "imags")


def test_metadata_gives_strata_and_units(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_text(
        "path,wafer,patient\na/1.jpg,mono,p1\nb/1.jpg,poly,p2\n", encoding="utf-8"
    )
    found = with_metadata(tmp_path, samples, "wafer", "patient")
    assert [(s.stratify_value, s.group) for s in found] == [("mono", "p1"), ("poly", "p2")]


def test_a_column_without_a_name_is_none_of_the_metadata(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    text = ",path,patient\n0,a/1.jpg,p1\n1,b/1.jpg,p1\n"  # as pandas writes its index
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8")
    found = with_metadata(tmp_path, samples, None, "patient")
    assert [(s.stratify_value, s.group) for s in found] == [("", "p1"), ("", "p1")]


def test_a_missing_column_or_row_is_named(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_text("path,wafer\na/1.jpg,mono\n", encoding="utf-8")
    with pytest.raises(UserError, match="Did you mean 'wafer'"):
        with_metadata(tmp_path, samples, "waver", None)
    with pytest.raises(UserError, match=r"no row for 1 images.*b/1\.jpg"):
        with_metadata(tmp_path, samples, "wafer", None)


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("Training", "Validation", "Testing"),
        ("train", "dev", "test"),
        ("training_set", "eval", "test-set"),
    ],
)
def test_folders_that_are_all_named_like_splits_are_splits_without_regard_to_case(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    names = {train: "train", val: "val", test: "test"}
    samples = scan_folder(touch(tmp_path, *(f"{name}/{c}/1.jpg" for name in names for c in ("cat", "dog"))))
    assert {s.target[0] for s in samples} == {"cat", "dog"}
    assert all(s.split == names[s.path.split("/")[0]] for s in samples)


def test_a_tree_that_can_be_read_in_two_ways_has_classes_and_says_how_to_read_it_in_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "train/1.jpg", "dog/1.jpg", "cat/1.jpg", "train/cat/2.jpg", "train/dog/2.jpg")
    with caplog.at_level(logging.INFO):
        assert {s.target[0] for s in scan_folder(tmp_path)} == {"train", "dog", "cat"}
    assert "data.layout=splits" in caplog.text
    (tmp_path / "train" / "1.jpg").unlink()
    samples = scan_folder(tmp_path, layout="splits")
    assert [(s.path, s.target[0], s.split) for s in samples] == [
        ("train/cat/2.jpg", "cat", "train"),
        ("train/dog/2.jpg", "dog", "train"),
    ]
    assert "cat, dog are no splits and are left out" in caplog.text


def test_the_layout_that_is_asked_for_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test/1.jpg")
    with pytest.raises(UserError, match=r"lies in no class folder.*data\.layout=classes"):
        scan_folder(tmp_path)
    assert {s.target[0] for s in scan_folder(tmp_path, layout="classes")} == {"train", "test"}
    with pytest.raises(UserError, match="has no folder train"):
        scan_folder(touch(tmp_path / "x", "a/1.jpg", "b/1.jpg"), layout="splits")


def test_what_systems_put_into_folders_is_left_out_and_counted_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    litter = ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", ".thumbnails", "__MACOSX"]
    paths = [f"{name}/thumb.jpg" for name in litter] + ["a/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg"]
    touch(tmp_path, "a/1.jpg", "b/1.jpg", *paths)
    with caplog.at_level(logging.INFO):
        assert [s.path for s in scan_folder(tmp_path)] == ["a/1.jpg", "b/1.jpg"]
    assert list(find_images(str(tmp_path))) == [tmp_path / "a/1.jpg", tmp_path / "b/1.jpg"]
    told = [record.getMessage() for record in caplog.records if "of the system" in record.getMessage()]
    assert len(told) == 1
    assert "6 folders of the system are left out (#recycle, $RECYCLE.BIN, @eaDir" in told[0]


@pytest.mark.parametrize(
    ("file", "why"), [(None, "no images"), ("x/1.heic", r"only files that cannot .* \(\.heic\)")]
)
def test_a_class_folder_without_images_is_refused_in_train_and_said_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str | None, why: str
) -> None:
    touch(tmp_path, "one/a/1.jpg", "one/b/1.jpg", "two/train/a/1.jpg", "two/train/b/1.jpg", "two/val/a/1.jpg")
    for folder in ("one/x", "two/val/x", "three/train/x"):
        (tmp_path / folder).mkdir(parents=True)
        if file:
            touch((tmp_path / folder).parent, file)
    touch(tmp_path, "three/train/a/1.jpg", "three/train/b/1.jpg")
    with pytest.raises(UserError, match=f"the class folder x holds {why}"):
        scan_folder(tmp_path / "one")
    with pytest.raises(UserError, match=f"the class folder train/x holds {why}"):
        scan_folder(tmp_path / "three")
    assert len(scan_folder(tmp_path / "two")) == 3
    assert re.search(f"the class folder val/x holds {why}", caplog.text)


def test_names_are_compared_composed_however_a_system_wrote_them(tmp_path: Path) -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    touch(tmp_path, f"train/{composed}/1.jpg", "train/b/1.jpg", f"val/{decomposed}/1.jpg")
    samples = scan_folder(tmp_path)
    assert {s.target[0] for s in samples} == {composed, "b"}
    assert (tmp_path / samples[-1].path).is_file()
    table = f"path,patient\ntrain/{decomposed}/1.jpg,p1\n./train/b/1.jpg,p2\nval\\{composed}\\1.jpg,p3\n"
    (tmp_path / "metadata.csv").write_text(table, encoding="utf-8")
    assert sorted(s.group for s in with_metadata(tmp_path, samples, None, "patient")) == ["p1", "p2", "p3"]
    rows = f"path,target,split\ntrain/{decomposed}/1.jpg,{decomposed},train\n"
    (tmp_path / "splits.csv").write_text(rows, encoding="utf-8")
    assert [s.split for s in read_splits(tmp_path / "splits.csv", samples)] == ["train"]


def test_two_rows_for_one_image_are_refused(tmp_path: Path) -> None:
    samples = scan_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    (tmp_path / "metadata.csv").write_text(
        "path,patient\na/1.jpg,p1\nb/1.jpg,p2\n./a/1.jpg,p3\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"two rows for a/1\.jpg"):
        with_metadata(tmp_path, samples, None, "patient")


@pytest.mark.parametrize(
    ("paths", "root", "message"),
    [
        (
            ["D/animals/cat/1.jpg", "D/animals/dog/1.jpg"],
            "D",
            r"one class only \(animals\).*data\.root=.*animals",
        ),
        (["D/cat/1.jpg", "D/dog/1.jpg"], "D/cat", r"single class folder, write data\.root=.*D\.$"),
        (["photos.zip"], "photos.zip", "is a file: unzip it"),
        (["photo.jpg"], "photo.jpg", "is a file: write its folder"),
    ],
)
def test_a_root_that_misses_the_classes_leads_to_them(
    tmp_path: Path, paths: list[str], root: str, message: str
) -> None:
    touch(tmp_path, *paths)
    with pytest.raises(UserError, match=message):
        scan_folder(tmp_path / root)


def test_a_file_name_that_is_no_utf_8_goes_through_splits_and_checks(tmp_path: Path) -> None:
    write_images(tmp_path / "root" / "a", 5, 80, seed=0)
    write_images(tmp_path / "root" / "b", 5, 180, seed=1)
    odd = os.fsencode(tmp_path / "root" / "a") + b"/caf\xe9.jpg"
    os.rename(os.fsencode(tmp_path / "root" / "a" / "000.jpg"), odd)  # noqa: PTH104
    os.rename(os.fsencode(tmp_path / "root" / "b"), os.fsencode(tmp_path / "root") + b"/b\xe9")  # noqa: PTH104
    settings = {"cache_dir": str(tmp_path / "cache")}
    images = make_data_module(tmp_path / "root", SMALL, Augmentation(), **settings).images
    assert images.task.columns == ("a", "b\\xe9")
    images.write_splits(tmp_path / "splits.csv")
    settings["splits"] = str(tmp_path / "splits.csv")
    again = make_data_module(tmp_path / "root", SMALL, Augmentation(), **settings).images
    assert again.digest() == images.digest()
    paths = [os.fsencode(sample.path) for split in again.samples.values() for sample in split]
    assert any(path.endswith(b"caf\xe9.jpg") for path in paths)


def test_folders_with_numbers_for_names_are_targets_of_regression(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_images(tmp_path / "pics" / str(number), 8, 60 * number, seed=number)
    preprocessing = Preprocessing((32,), (32, 32), "bilinear", True, (0.5,) * 3, (0.2,) * 3)
    task = task_of("regression", ())
    data = make_data_module(tmp_path / "pics", preprocessing, Augmentation(), task=task)
    assert data.images.task.columns == ("class",)
