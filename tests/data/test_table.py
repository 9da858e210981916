"""What is read from a table of paths and targets, and what is refused."""

import logging
import os
import re
import time
import unicodedata
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from graft.data.sources.table import Table
from graft.data.tables import read_rows
from graft.errors import UserError
from graft.tasks.multiclass import Multiclass
from graft.tasks.multilabel import Multilabel
from graft.tasks.regression import Regression
from tests.conftest import PROJECT

CAT = '{"choices": ["cat", "pet"]}'.replace('"', '""')  # as CSV has it within quotes


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def table(folder: Path, text: str, target: str | list[str] = "label", **settings: Any) -> Table:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return Table(file, target, **settings)


def test_one_class_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "a/1.jpg")
    source = table(tmp_path, "path,label\nb/2.jpg,dog\na/1.jpg, cat \n")
    samples = source.read(Multiclass())
    assert [(s.path, s.target, s.split, s.group, s.weight) for s in samples] == [
        ("a/1.jpg", ("cat",), None, "", 1.0),
        ("b/2.jpg", ("dog",), None, "", 1.0),
    ]
    assert source.root == tmp_path
    assert source.target_names(Multiclass()) == ("label",)


def test_several_labels_in_one_column_or_in_a_column_each(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    one = table(tmp_path, "path,label\n1.jpg,cat;pet\n2.jpg,\n3.jpg,dog\n")
    assert [s.target for s in one.read(Multilabel())] == [("cat", "pet"), (), ("dog",)]
    names = ["cat", "dog"]
    each = table(tmp_path, "path,cat,dog\n1.jpg,1,no\n2.jpg,,0\n3.jpg,true,1.0\n", names)
    assert [s.target for s in each.read(Multilabel())] == [("cat",), (), ("cat", "dog")]
    assert each.target_names(Multilabel()) == ("cat", "dog")


def test_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    source = table(tmp_path, "path,age,height\n1.jpg,7,1.2e2\n2.jpg,-0.5, 3\n", ["age", "height"])
    assert [s.target for s in source.read(Regression())] == [("7", "1.2e2"), ("-0.5", "3")]


def test_the_configuration_names_every_argument_with_its_default() -> None:
    config = yaml.safe_load((PROJECT / "configs/data/table.yaml").read_text())
    defaults = {name: taken.default for name, taken in signature(Table).parameters.items()}
    required = {"file": "???", "target": "???"}
    del defaults["channels"]  # A setting of all sources.
    assert {name: config[name] for name in defaults} == defaults | required


def test_kaggles_ids_without_extension(tmp_path: Path) -> None:
    touch(tmp_path, "train_images/0a.jpg", "train_images/1.2.840.jpg", "train_images/2.png")
    for extension in (".jpg", "jpg"):
        source = table(
            tmp_path,
            "id_code,diagnosis\n0a,2\n1.2.840,0\n2.png,1\n",
            "diagnosis",
            root=str(tmp_path / "train_images"),
            path_column="id_code",
            extension=extension,
        )
        samples = source.read(Multiclass())
        assert [s.path for s in samples] == ["0a.jpg", "1.2.840.jpg", "2.png"]
        assert [s.target for s in samples] == [("2",), ("0",), ("1",)]


def test_label_studio_with_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "images/0a1b2c3d-cat.jpg", "images/deep/my dog.jpg", "images/other.jpg", "images/owl.png")
    text = "annotation_id,choice,image\n1,cat,/data/upload/1/0a1b2c3d-cat.jpg\n"
    text += f"2,dog,/data/local-files/?d={quote('deep/my dog.jpg', safe='')}\n"
    text += "3,owl,/data/upload/1/ff00ff00-owl.png\n"  # uploaded as owl.png
    source = table(tmp_path, text, "choice", path_column="image", match_names=True, root=tmp_path / "images")
    with caplog.at_level(logging.INFO):
        samples = source.read(Multiclass())
    assert {s.path: s.target[0] for s in samples} == {
        "0a1b2c3d-cat.jpg": "cat",
        "deep/my dog.jpg": "dog",
        "owl.png": "owl",
    }
    assert "1 images below" in caplog.text
    assert "(first: other.jpg)" in caplog.text


def test_label_studio_with_several_classes(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    text = f'choice,image\n"{CAT}",https://host/bucket/a.jpg?key=1\ndog,C:\\images\\b.jpg\n'
    samples = table(tmp_path, text, "choice", path_column="image", match_names=True).read(Multilabel())
    assert [s.target for s in samples] == [("cat", "pet"), ("dog",)]


def test_match_names_refuses_a_name_that_occurs_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(UserError, match=r"row 2: 1\.jpg is ambiguous, there are a/1\.jpg and b/1\.jpg"):
        table(tmp_path, "path,label\nx/1.jpg,cat\n", match_names=True).read(Multiclass())


def test_parquet_is_read_as_text(tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    columns = {"path": ["1.jpg", "2.jpg"], "n": [1.0, 0.1], "c": [3, None], "ok": [True, False]}
    pq.write_table(pa.table(columns | {"labels": [["cat", "pet"], []]}), file)
    names, rows = read_rows(file)
    assert names == ["path", "n", "c", "ok", "labels"]
    assert [list(row.values())[:4] for row in rows.values()] == [
        ["1.jpg", "1.0", "3", "True"],
        ["2.jpg", "0.1", "", "False"],
    ]
    touch(tmp_path, "1.jpg", "2.jpg")
    assert [s.target for s in Table(file, ["labels"]).read(Multilabel())] == [("cat", "pet"), ()]
    assert [s.target for s in Table(file, ["n"]).read(Regression())] == [("1.0",), ("0.1",)]
    with pytest.raises(UserError, match="row 3: the class is empty"):
        Table(file, "c").read(Multiclass())


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("path,label\n")
    with pytest.raises(UserError, match=r"x\.parquet cannot be read as a table"):
        Table(tmp_path / "x.parquet", "label").read(Multiclass())


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_byte_order_mark_and_quotes(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "t.csv"
    text = f'\ufeffpath{separator}"a,;, b"{separator}c\n1.jpg{separator}"x{separator}y"\n'
    file.write_text(text, encoding="utf-8")
    columns, rows = read_rows(file)
    assert columns == ["path", "a,;, b", "c"]
    assert rows == {2: {"path": "1.jpg", "a,;, b": f"x{separator}y", "c": ""}}


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"x\ny",1\n\n,,\nz,2,\n')
    assert {n: row["b"] for n, row in read_rows(tmp_path / "t.csv")[1].items()} == {2: "1", 5: "2"}


def test_a_row_longer_than_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="row 3: 3 cells, but the header has 2; put a cell"):
        table(tmp_path, "path,label\n1.jpg,a\n2.jpg,cat,pet\n").read(Multilabel())


def test_split_group_stratify_and_weight_columns(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    text = (
        "path,label,fold,patient,site,w\n1.jpg,a,Training,p1,x,2\n2.jpg,b,valid,p2,,0.5\n3.jpg,b,test,,y,1\n"
    )
    columns = {"split_column": "fold", "group_column": "patient", "weight_column": "w"}
    columns["stratify_column"] = "site"
    samples = table(tmp_path, text, **columns).read(Multiclass())
    assert [(s.split, s.group, s.weight, s.stratum, s.stratify_value) for s in samples] == [
        ("train", "p1", 2.0, "", "x"),
        ("val", "p2", 0.5, "", ""),
        ("test", "", 1.0, "", "y"),
    ]


def test_splits_without_train_are_refused_for_training_alone(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    source = table(tmp_path, "path,label,fold\n1.jpg,a,val\n2.jpg,b,test\n", split_column="fold")
    with pytest.raises(UserError, match=r"data\.split_column=fold: .* has test, val but no train"):
        source.read(Multiclass())
    assert len(source.read(Multiclass(), needs_train=False)) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("match_names", [False, True])
def test_either_form_of_unicode(tmp_path: Path, form: Any, on_disk: Any, match_names: bool) -> None:
    path = "Tür/é.jpg"
    touch(tmp_path, unicodedata.normalize(on_disk, path))
    text = unicodedata.normalize(form, f"path,label\n{path},Käfer\n")
    (sample,) = table(tmp_path, text, match_names=match_names).read(Multiclass())
    assert (tmp_path / sample.path).exists()
    assert sample.target == (unicodedata.normalize("NFC", "Käfer"),)


def test_paths_of_other_systems_and_absolute_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    touch(home, *(f"a/{n}.jpg" for n in range(6)))
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    paths = [
        "./a/0.jpg",
        r"a\1.jpg",
        f"{home}/a/2.jpg",
        "~/a/3.jpg",
        "b/../a//4.jpg",
        f"{tmp_path}/link/a/5.jpg",
    ]
    text = "path,label\n" + "".join(f"{path},x\n" for path in paths)
    samples = table(tmp_path, text, root=tmp_path / "link").read(Multiclass())
    assert [s.path for s in samples] == [f"a/{n}.jpg" for n in range(6)]


@pytest.mark.parametrize("path", ["/elsewhere/1.jpg", "../1.jpg", "a/../../1.jpg", "C:\\x\\1.jpg"])
def test_paths_outside_of_the_root_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=f"row 2: {re.escape(path)} lies outside of data.root="):
        table(tmp_path, f"path,label\n{path},x\n").read(Multiclass())


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, r"data\.file=.*labels\.csv has no rows: write one for each image below the header"),
        ("path,label\n\n", {}, "has no rows"),
        ("path,lable\n1.jpg,a\n", {}, "data.target=label: .* has no such column. Did you mean 'lable'?"),
        ("id,label\n1,a\n", {}, "data.path_column=path: .* no such column. Its columns are id, label."),
        ("path,label,label\n1.jpg,a,b\n", {}, "data.target=label: .* has several columns of this name"),
        ("path,label\n1.jpg,a\n", {"split_column": "fold"}, "data.split_column=fold: .* no such column"),
        ("path,label\n1.jpg,a\n", {"group_column": "g"}, "data.group_column=g: .* no such column"),
        ("path,label\n1.jpg,a\n", {"stratify_column": "s"}, "data.stratify_column=s: .* no such column"),
        ("path,label\n1.jpg,a\n", {"weight_column": "w"}, "data.weight_column=w: .* no such column"),
        (
            "path,label\n1.jpg,a\n2.jpg,\n3.jpg,\n",
            {},
            r"row 3: the class is empty \(the first of 2 rows that cannot be read\)\.$",
        ),
        ("path,label\n1.jpg,a\n,b\n", {}, r"row 3: path is empty\.$"),
        ("path,label,s\n1.jpg,a,\n", {"split_column": "s"}, "row 2: s is '', not one of train, val, test"),
        ("path,label,s\n1.jpg,a,x\n", {"split_column": "s"}, "row 2: s is 'x', not one of train, val, test"),
        ("path,label,w\n1.jpg,a,0\n", {"weight_column": "w"}, "row 2: w is '0', not a number above 0"),
        ("path,label,w\n1.jpg,a,nan\n", {"weight_column": "w"}, "row 2: w is 'nan', not a number above 0"),
        ("path,label,w\n1.jpg,a,x\n", {"weight_column": "w"}, "row 2: w is 'x', not a number above 0"),
        (
            "path,label\n1.jpg,a\n4.jpg,a\n5.jpg,a\n6.jpg,a\n7.jpg,a\n",
            {},
            r"4 of 5 images are not below .* \(4\.jpg, 5\.jpg, 6\.jpg\): add them, or remove their rows\.$",
        ),
        (
            "path,label\n1,a\n2,a\n",
            {},
            r"2 of 2 images .*: add their extension, such as data\.extension=\.jpg",
        ),
        (
            "path,label\nx/1.jpg,a\nx/2.jpg,a\n",
            {},
            r"write the folder that the paths are relative to as data\.root, or data\.match_names=true",
        ),
        ("path,label\nx.jpg,a\n", {"match_names": True}, r"write the folder that they lie in as data\.root"),
        (
            "path,label\n1.jpg,a\n2.jpg,b\n./1.jpg,a\n",
            {},
            r"has several rows for 1 images \(first: 1\.jpg, rows 2, 4\): leave one row for each",
        ),
        (
            "path,label\n1.jpg,a\n1.jpg,b\n2.jpg,b\n2.jpg,b\n",
            {},
            r"for 2 images \(first: 1\.jpg, rows 2, 3\); 1 of them have different targets: leave one",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, settings: dict[str, Any], message: str) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    with pytest.raises(UserError, match=message):
        table(tmp_path, text, **settings).read(Multiclass())


def test_cells_that_are_no_numbers_or_labels_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    with pytest.raises(UserError, match="row 2: age is '7,5', not a number"):
        table(tmp_path, "path;age\n1.jpg;7,5\n", "age").read(Regression())
    with pytest.raises(UserError, match="row 2: cat is 'maybe', neither 1 nor 0"):
        table(tmp_path, "path,cat,dog\n1.jpg,maybe,1\n", ["cat", "dog"]).read(Multilabel())


def test_a_missing_file_or_root_is_named_with_the_nearest(tmp_path: Path) -> None:
    source = table(tmp_path, "path,label\n1.jpg,a\n")
    with pytest.raises(
        UserError, match=r"data\.file=.*lables\.csv: there is no such file. Did you mean 'labels"
    ):
        Table(tmp_path / "lables.csv", "label").read(Multiclass())
    with pytest.raises(UserError, match=r"data\.file=.* is a folder"):
        Table(tmp_path, "label").read(Multiclass())
    (tmp_path / "images").mkdir()
    with pytest.raises(
        UserError, match=r"data\.root=.*image: there is no such folder. Did you mean 'images'"
    ):
        Table(source.file, "label", root=tmp_path / "image").read(Multiclass())


@pytest.mark.parametrize("match_names", [False, True])
def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, match_names: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.jpg")
    list_folder = os.scandir

    def refuse(folder: Any) -> Any:
        if Path(folder).name == "a":
            raise PermissionError(13, "Permission denied")
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"a cannot be listed \(Permission denied\)"):
        table(tmp_path, "path,label\na/1.jpg,x\n", match_names=match_names).read(Multiclass())


@pytest.mark.parametrize("match_names", [False, True])
def test_many_rows_are_read_in_seconds(tmp_path: Path, match_names: bool) -> None:
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    paths = [f"{number % 20}/{number}.jpg" for number in range(10_000)]
    for path in paths:
        os.close(os.open(tmp_path / path, os.O_CREAT))
    source = table(
        tmp_path, "path,label\n" + "".join(f"{path},x\n" for path in paths), match_names=match_names
    )
    start = time.process_time()
    assert len(source.read(Multiclass())) == 10_000
    assert time.process_time() - start < 5  # 0.1 seconds on an idle machine
