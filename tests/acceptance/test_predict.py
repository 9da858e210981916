"""Predictions through the command: formats, images that cannot be read, labels, copies, mistakes."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from graft import load
from tests.conftest import Command, MakeConfig, task_of, write_checkpoint
from tests.conftest import trained as train


@pytest.fixture
def predict(script: Command) -> Command:
    """Run `scripts/predict.py ...`."""
    return lambda *arguments, **environment: script("predict.py", *arguments, **environment)


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_predictions_agree_with_the_test_and_bad_images_are_rows(
    predict: Command, make_config: MakeConfig, tmp_path: Path, images: Path
) -> None:
    metrics = train(make_config("trainer.max_epochs=1"))
    (images / "dark" / "broken.jpg").write_text("no image", encoding="utf-8")
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    result = predict(f"checkpoint={checkpoint}", f"input={images}", "batch_size=5")
    assert result.returncode == 3, result.stderr
    rows = {str(Path(row["path"]).relative_to(images)): row for row in read(tmp_path / "predictions.csv")}
    assert list(rows) == sorted(rows)
    assert len(rows) == 25
    assert rows["dark/broken.jpg"]["error"]
    assert rows["dark/broken.jpg"]["label"] == ""
    splits = [
        line.split(",")
        for line in (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    tested = [(path, name) for path, name, split in splits if split == "test"]
    right = sum(rows[path]["label"] == name for path, name in tested)
    assert right / len(tested) == pytest.approx(metrics["test/accuracy"])


def test_the_formats_hold_the_same_numbers_as_the_model(
    predict: Command, tmp_path: Path, images: Path, checkpoint: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (images / "dark" / "broken.jpg").write_text("no image", encoding="utf-8")
    for ending in ("csv", "jsonl", "parquet"):
        output = f"output=p.{ending}"
        result = predict(f"checkpoint={checkpoint}", f"input={images}", "top_k=2", output)
        assert result.returncode == 3, result.stderr
    objects = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    columns = ["path", "label", "probability", "label_2", "probability_2", "dark", "light", "error"]
    assert all(list(row) == columns for row in objects)
    text = {column: [str(row[column] or "") for row in objects] for column in ("path", "label", "error")}
    rows = read(tmp_path / "p.csv")
    table = parquet.read_table(tmp_path / "p.parquet").to_pydict()
    assert list(table) == list(rows[0]) == columns
    for column, values in text.items():
        assert [row[column] for row in rows] == values == [value or "" for value in table[column]]
    predictions = load(checkpoint).predict([row["path"] for row in rows])
    for number, found in enumerate(predictions):
        if found.error:
            assert rows[number]["dark"] == ""
            assert objects[number]["dark"] is None is table["dark"][number]
            continue
        assert found.probability is not None
        other = min(found.values)
        expected = (found.label, found.probability, other, *found.values)
        for row in (rows[number], objects[number], {name: values[number] for name, values in table.items()}):
            assert numbers(row) == pytest.approx(expected[1:], abs=1e-8)
            assert row["label"] == found.label != row["label_2"]


def numbers(row: dict[str, Any]) -> list[float]:
    return [float(row[name]) for name in ("probability", "probability_2", "dark", "light")]


def test_file_pattern_and_folder_give_the_same_rows(
    predict: Command, tmp_path: Path, images: Path, checkpoint: Path
) -> None:
    found = []
    for source in (f"{images}/dark", f"{images}/dark/*.jpg", f"{images}/dark/000.jpg"):
        result = predict(f"checkpoint={checkpoint}", f"input={source}")
        assert result.returncode == 0, result.stderr
        assert "000.jpg" in result.stdout  # Few images are shown.
        found.append(read(tmp_path / "predictions.csv"))
    folder, pattern, file = found
    assert folder == pattern
    assert len(folder) == 12
    assert file[0]["label"] == folder[0]["label"]
    assert float(file[0]["light"]) == pytest.approx(float(folder[0]["light"]), abs=1e-6)


def test_images_are_copied_to_their_labels(
    predict: Command, tmp_path: Path, images: Path, checkpoint: Path
) -> None:
    (images / "dark" / "broken.jpg").write_text("no image", encoding="utf-8")
    arguments = [f"checkpoint={checkpoint}", f"input={images}", "threshold=0.6", "tta=flip"]
    assert predict(*arguments, "copy_to=sorted").returncode == 3
    rows = read(tmp_path / "predictions.csv")
    assert {(row["label"], row["is_certain"]) for row in rows} > {
        ("", ""),
        ("dark", "True"),
        ("dark", "False"),
    }
    folders = {"True": "", "False": "uncertain/"}
    expected = {
        f"{folders[row['is_certain']]}{row['label']}/{Path(row['path']).relative_to(images)}"
        for row in rows
        if row["label"]
    }
    copied = [path for path in (tmp_path / "sorted").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "sorted")) for path in copied} == expected
    for row, found in zip(
        rows, load(checkpoint).predict([row["path"] for row in rows], threshold=0.6, flip=True), strict=True
    ):
        assert (row["label"], row["is_certain"]) == (
            found.label or "",
            "" if found.is_certain is None else str(found.is_certain),
        )
    again = predict(*arguments, "copy_to=sorted")
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_labels_and_numbers_have_columns_of_their_own(predict: Command, tmp_path: Path, images: Path) -> None:
    (images / "dark" / "broken.jpg").write_text("no image", encoding="utf-8")
    several = task_of("multilabel", ("round", "label"), thresholds=[0.0, 1.0])
    numbers = task_of("regression", ("age", "weight"), mean=[40.0, 5.0], std=[10.0, 1.0])
    for task, columns in ((several, ["round", "label label"]), (numbers, ["age", "weight"])):
        checkpoint = write_checkpoint(tmp_path / f"{task.name}.ckpt", task=task)
        result = predict(f"checkpoint={checkpoint}", f"input={images}/dark", "tta=flip")
        assert result.returncode == 3, result.stderr
        rows = read(tmp_path / "predictions.csv")
        assert list(rows[0]) == ["path", "label", *columns, "error"]
        for row, found in zip(
            rows, load(checkpoint).predict([row["path"] for row in rows], flip=True), strict=True
        ):
            assert row["label"] == (found.label or "")
            assert [float(row[name]) for name in columns if row[name]] == pytest.approx(list(found.values))
        for setting in ("top_k=2", "threshold=0.5", "copy_to=sorted"):
            result = predict(f"checkpoint={checkpoint}", f"input={images}", setting)
            assert result.returncode == 2
            assert f"{setting} needs task=multiclass; the model's task is {task.name}" in result.stderr
    assert not (tmp_path / "sorted").exists()


def test_a_class_may_be_called_as_a_column_is(predict: Command, tmp_path: Path, images: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "odd.ckpt", ["error", "path"])
    result = predict(f"checkpoint={checkpoint}", f"input={images}")
    assert result.returncode == 0, result.stderr
    row = read(tmp_path / "predictions.csv")[0]
    assert float(row["class error"]) + float(row["class path"]) == pytest.approx(1)
    assert row["error"] == ""
    assert row["label"] in ("error", "path")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekpoint=a.ckpt"], "Did you mean 'checkpoint'?"),
        (["input=."], "checkpoint is needed"),
        (["checkpoint=none.ckpt", "input=images"], "there is no checkpoint none.ckpt"),
        (["--checkpoint=a.ckpt"], "write checkpoint=a.ckpt"),
        (["checkpoint=tiny.ckpt", "input=image"], "Did you mean 'images'?"),
        (["checkpoint=tiny.ckpt", "input=images", "output=a.txt"], ".csv, .jsonl, .ndjson, .parquet"),
        (["checkpoint=tiny.ckpt", "input=images", "output=none/a.csv"], "there is no folder none"),
        (["checkpoint=tiny.ckpt", "input=images", "top_k=3"], "the model has 2 classes"),
        (["checkpoint=tiny.ckpt", "input=images", "threshold=60"], "between 0 and 1"),
        (["checkpoint=tiny.ckpt", "input=images", "tta=rotate"], "tta=rotate: write flip or null"),
        (["checkpoint=tiny.ckpt", "input=images", "batch_size=0"], "1 or more"),
        (["checkpoint=tiny.ckpt", "input=images", "copy_to=images/out"], "would be predicted too"),
        (["checkpoint=images/dark/000.jpg", "input=images"], "damaged or no checkpoint"),
        (["checkpoint=tiny.ckpt", "input=images", "input=images"], "given twice"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    predict: Command, tmp_path: Path, images: Path, checkpoint: Path, arguments: list[str], message: str
) -> None:
    del images, checkpoint
    result = predict(*arguments)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "predictions.csv").exists()
