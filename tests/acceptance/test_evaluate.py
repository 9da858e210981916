"""The figures of a run, of evaluate.py and of scikit-learn from predictions.csv are the same."""

import csv
import json
from pathlib import Path

import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from graft import load
from graft.inference.export.writing import export  # room: inference/export
from tests.conftest import Command, MakeConfig, task_of, write_checkpoint, write_images
from tests.conftest import trained as train


def test_run_evaluation_predictions_and_exported_file_agree(
    script: Command, make_config: MakeConfig, tmp_path: Path, images: Path
) -> None:
    write_images(images / "middle", 12, 130, seed=3)
    learning = (
        "trainer.max_epochs=3",
        "optimizer.lr=0.05",
        "data.val_fraction=0.3",
        "data.test_fraction=0.3",
    )
    metrics = train(make_config("calibrate=true", *learning))
    assert metrics["temperature"] != 1
    checkpoint = f"checkpoint={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    splits = tmp_path / "run" / "splits.csv"
    arguments = (f"data.root={images}", f"data.splits={splits}", "output=m.json")
    result = script("evaluate.py", checkpoint, *arguments)
    assert result.returncode == 0, result.stderr
    evaluated = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert f"accuracy        {metrics['test/accuracy']:.4f}" in result.stdout
    names = ("loss", "accuracy", "f1", "auroc", "ece", "ece_calibrated")
    for name in names:
        assert evaluated[name] == pytest.approx(metrics[f"test/{name}"], abs=1e-6), name

    result = script("predict.py", checkpoint, f"input={images}")
    assert result.returncode == 0, result.stderr
    with splits.open(encoding="utf-8") as lines:
        tested = {row["path"]: row["target"] for row in csv.DictReader(lines) if row["split"] == "test"}
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as lines:
        rows = {str(Path(row["path"]).relative_to(images)): row for row in csv.DictReader(lines)}
    classes = ["dark", "light", "middle"]
    truth = list(tested.values())
    labels = [rows[path]["label"] for path in tested]
    assert accuracy_score(truth, labels) == pytest.approx(metrics["test/accuracy"], abs=1e-6)
    assert f1_score(truth, labels, average="macro") == pytest.approx(metrics["test/f1"], abs=1e-6)
    # The metrics are those of the network's own probabilities: undo the temperature.
    own = [[float(rows[path][name]) ** metrics["temperature"] for name in classes] for path in tested]
    own = [[value / sum(values) for value in values] for values in own]
    assert roc_auc_score(truth, own, multi_class="ovr") == pytest.approx(metrics["test/auroc"], abs=1e-6)
    assert log_loss(truth, own) == pytest.approx(metrics["test/loss"], abs=1e-5)

    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8") as lines:
        of_run = {row["path"]: row for row in csv.DictReader(lines)}
    assert of_run.keys() == tested.keys()
    for path, one in of_run.items():
        assert one["predicted"] == rows[path]["label"]
        expected = [float(rows[path][name]) for name in classes]
        assert [float(one[name]) for name in classes] == pytest.approx(expected, abs=1e-4)
    pytest.importorskip("onnxscript")  # room: inference/export
    pytest.importorskip("onnxruntime")  # room: inference/export
    paths = [images / path for path in tested]  # room: inference/export
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"  # room: inference/export
    done = export(best, "onnx", tmp_path / "best.onnx", paths)  # room: inference/export
    for found in load(done.file).predict(paths):  # room: inference/export
        assert found.path is not None  # room: inference/export
        one = rows[str(found.path.relative_to(images))]  # room: inference/export
        assert found.label == one["label"]  # room: inference/export
        expected = [float(one[name]) for name in classes]  # room: inference/export
        assert found.values == pytest.approx(expected, abs=1e-4)  # room: inference/export


def test_split_folders_are_measured_on_test_unless_another_is_named(
    script: Command, tmp_path: Path, checkpoint: Path
) -> None:
    for split, count in (("test", 4), ("val", 3)):
        for number, name in enumerate(("dark", "light")):
            write_images(tmp_path / "pics" / split / name, count, 80 + 100 * number, seed=count + number)
    arguments = (f"checkpoint={checkpoint}", "data.root=pics", "output=m.json")
    for chosen, count in (([], 8), (["split=val"], 6)):
        result = script("evaluate.py", *arguments, *chosen)
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["images"] == count
    result = script("evaluate.py", *arguments, "split=train")
    assert result.returncode == 2
    assert "split=train does not exist: pics has val, test" in result.stderr


def test_labels_of_a_table_are_measured_as_scikit_learn_does(
    script: Command, tmp_path: Path, images: Path
) -> None:
    task = task_of("multilabel", ("big", "round"), thresholds=[0.5, 0.5])
    checkpoint = write_checkpoint(tmp_path / "labels.ckpt", task=task)
    targets = {path: [n % 2, n % 3 == 0] for n, path in enumerate(sorted(images.rglob("*.jpg")))}
    rows = [f"{path.relative_to(images)},{int(big)},{int(round_)}" for path, (big, round_) in targets.items()]
    (images / "labels.csv").write_text("\n".join(["path,big,round", *rows]), encoding="utf-8")
    arguments = (f"checkpoint={checkpoint}", "data.file=images/labels.csv", "data.target=[big,round]")
    result = script("evaluate.py", *arguments, "output=m.json")
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    values = [found.values for found in load(checkpoint).predict(list(targets))]
    truth = list(targets.values())
    assert measured["images"] == 24
    expected = average_precision_score(truth, values, average="macro")
    assert measured["average_precision"] == pytest.approx(expected, abs=1e-6)
    flat = [[number for row in rows for number in row] for rows in (truth, values)]
    assert measured["loss"] == pytest.approx(log_loss(*flat), abs=1e-5)


def test_numbers_of_a_table_are_measured_in_their_unit(script: Command, tmp_path: Path, images: Path) -> None:
    task = task_of("regression", ("age",), mean=[40.0], std=[10.0])
    checkpoint = write_checkpoint(tmp_path / "numbers.ckpt", task=task)
    targets = {path: 30.5 + n for n, path in enumerate(sorted(images.rglob("*.jpg")))}
    rows = [f"{path.relative_to(images)},{age},test" for path, age in targets.items()]
    (tmp_path / "ages.csv").write_text("\n".join(["file,age,split", *rows]), encoding="utf-8")
    table = ("data.file=ages.csv", "data.root=images", "data.path_column=file", "data.split_column=split")
    arguments = (f"checkpoint={checkpoint}", *table, "output=m.json")
    result = script("evaluate.py", *arguments, "data.target=age")
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    values = [found.values[0] for found in load(checkpoint).predict(list(targets))]
    assert measured["mae"] == pytest.approx(mean_absolute_error(list(targets.values()), values), rel=1e-5)
    assert measured["r2"] == pytest.approx(r2_score(list(targets.values()), values), rel=1e-4)
    result = script("evaluate.py", *arguments)
    assert "data.target is needed: write data.target=COLUMN" in result.stderr


def test_columns_in_another_order_are_refused(script: Command, tmp_path: Path, images: Path) -> None:
    task = task_of("regression", ("age", "mass"), mean=[40.0, 1.0], std=[10.0, 1.0])
    checkpoint = write_checkpoint(tmp_path / "numbers.ckpt", task=task)
    rows = [f"{path.relative_to(images)},30,{n}" for n, path in enumerate(sorted(images.rglob("*.jpg")))]
    (images / "numbers.csv").write_text("\n".join(["path,age,mass", *rows]), encoding="utf-8")
    arguments = (f"checkpoint={checkpoint}", "data.file=images/numbers.csv")
    result = script("evaluate.py", *arguments, "data.target=[mass,age]")
    assert result.returncode == 2
    assert "the model predicts [age,mass]: write data.target in this order" in result.stderr


def test_what_cannot_be_measured_is_null_and_patients_are_groups(
    script: Command, tmp_path: Path, checkpoint: Path
) -> None:
    write_images(tmp_path / "pics" / "dark", 12, 80, seed=1)
    rows = [f"dark/{number:03d}.jpg,p{number // 3}" for number in range(12)]
    (tmp_path / "pics" / "metadata.csv").write_text("\n".join(["path,patient", *rows]), encoding="utf-8")
    arguments = [f"checkpoint={checkpoint}", "data.root=pics", "data.keep_together=patient", "output=m.json"]
    arguments += ["report=r.html"]  # room: reporting
    result = script("evaluate.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "no images of light: AUROC and average precision leave them out" in result.stderr
    text = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["auroc"] is None
    assert "4 groups" in (tmp_path / "r.html").read_text(encoding="utf-8")  # room: reporting


def test_images_that_the_network_was_trained_on_are_counted(
    script: Command, tmp_path: Path, images: Path
) -> None:
    write_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt", ["dark", "light"])
    files = sorted(file.relative_to(images) for file in images.glob("*/*.jpg"))
    rows = [f"{file},{file.parent},{'train' if n < 5 else 'test'}\n" for n, file in enumerate(files)]
    (tmp_path / "run" / "splits.csv").write_text("path,target,split\n" + "".join(rows), encoding="utf-8")

    all_of_them = script("evaluate.py", "run", f"data.root={images}")
    of_the_test = script("evaluate.py", "run", f"data.root={images}", "data.splits=run/splits.csv")

    assert "5 of them have the paths of images that the network was trained on" in all_of_them.stdout
    assert "for its test images, add data.splits=run/splits.csv" in all_of_them.stdout
    assert f"{len(files) - 5} images of" in of_the_test.stdout
    assert "trained on" not in of_the_test.stdout


def test_other_classes_are_listed(script: Command, tmp_path: Path, images: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "other.ckpt", ["bright", "light", "odd"])
    result = script("evaluate.py", f"checkpoint={checkpoint}", f"data.root={images}")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "does not know: dark. The model's classes: bright, light, odd" in line


def test_a_folder_that_lacks_a_class_is_measured_as_a_run_does(script: Command, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "other.ckpt", ["bee", "dark", "light"])
    for name, split in (("dark", "test"), ("light", "test"), ("bee", "train"), ("dark", "train")):
        write_images(tmp_path / "D" / split / name, 3, 90, seed=len(name))
    result = script("evaluate.py", f"checkpoint={checkpoint}", "data.root=D", "output=m.json")
    assert result.returncode == 0, result.stderr
    assert "no images of bee" in result.stderr
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["images"] == 6


def test_unreadable_images_are_listed(script: Command, images: Path, checkpoint: Path) -> None:
    (images / "dark" / "broken.jpg").write_text("no image", encoding="utf-8")
    result = script("evaluate.py", f"checkpoint={checkpoint}", f"data.root={images}")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "1 unreadable image: " in line
    assert "broken.jpg" in line
