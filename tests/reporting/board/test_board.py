# room: reporting
"""TensorBoard has the images, figures, embeddings and settings of a run."""

import csv
import logging
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from graft.data.images import open_rgb
from graft.data.transforms import Augmentation, evaluation_crop
from graft.errors import UserError
from graft.inference.runtimes import load_model
from graft.reporting.board.callback import FRAME, INNER, TensorBoardImages, framed
from graft.reporting.board.images import as_rgb, chosen, denormalised, title
from graft.reporting.results import write_results
from graft.training.run import train
from tests.conftest import MakeConfig, make_data_module, task_of
from tests.reporting.conftest import MakeRecord, reported


def events_of(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0})
    found.Reload()
    return found


@pytest.mark.parametrize("cache", ["auto", "false"])
def test_a_run_shows_images_figures_embeddings_and_settings(
    make_config: MakeConfig, tmp_path: Path, cache: str
) -> None:
    settings = ["trainer.max_epochs=2", "optimizer.lr=0.00001"]
    settings += [f"features.cache={cache}"]  # room: features
    metrics = reported(make_config(*settings, board=True)).metrics
    events = events_of(tmp_path / "run")
    figures = {
        "what the network sees/training images",
        "what the network sees/validation images and predictions",
    }
    figures |= {"when done/Confusion matrix", "when done/Precision and recall"}
    assert figures <= set(events.Tags()["images"])
    scalars = events.Tags()["scalars"]
    assert "train/images_per_second" in scalars
    assert not [name for name in scalars if name.startswith(("epoch", "phase", "test/", "lr-"))]
    assert any(name.startswith("while training/lr-") for name in scalars)
    (shown,) = events.Tensors("settings/text_summary")
    assert b"name: test_efficientnet" in shown.tensor_proto.string_val[0]
    final = events.Scalars("when done/test accuracy")
    assert [event.value for event in final] == [pytest.approx(metrics["test/accuracy"])]

    folder = next((tmp_path / "run" / "tensorboard").glob("**/tensors.tsv")).parent
    with (folder / "metadata.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))
    assert rows[0] == ["label", "predicted", "path"]
    assert all(path.startswith(f"{label}/") for label, _, path in rows[1:])
    features = np.loadtxt(folder / "tensors.tsv", ndmin=2)
    assert features.shape == (len(rows) - 1, 256)
    assert (tmp_path / "run" / "tensorboard" / "projector_config.pbtxt").is_file()
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.width * sprite.height >= 48 * 48 * len(features)


def test_the_table_of_runs_has_settings_and_results(make_config: MakeConfig, tmp_path: Path) -> None:
    reported(make_config("trainer.max_epochs=1", "optimizer.lr=0.125", board=True))
    content = events_of(tmp_path / "run").summary_metadata["_hparams_/session_start_info"]
    start = HParamsPluginData.FromString(content.plugin_data.content).session_start_info
    assert start.hparams["learning rate"].number_value == 0.125
    assert start.hparams["model"].string_value == "test_efficientnet"
    assert {"learning rate", "model"} <= set(sorted(start.hparams)[:5])  # TensorBoard shows those at once.
    content = events_of(tmp_path / "run").summary_metadata["_hparams_/experiment"]
    experiment = HParamsPluginData.FromString(content.plugin_data.content).experiment
    named = {info.name.tag for info in experiment.metric_infos}
    assert {"when done/test accuracy", "when done/val accuracy"} <= named


def test_mistakes_have_heat_maps_beside_them(make_config: MakeConfig, tmp_path: Path) -> None:
    pytest.importorskip("pytorch_grad_cam")
    few = ("data.val_fraction=0.4", "data.test_fraction=0.4", "optimizer.lr=0.0000001")
    metrics = reported(make_config("trainer.max_epochs=1", "seed=3", *few, board=True)).metrics
    assert metrics["test/accuracy"] < 1
    assert "when done/Worst mistakes" in events_of(tmp_path / "run").Tags()["images"]


def test_denormalised_images_are_the_cropped_images(images: Path, checkpoint: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    data = make_data_module(images, load_model(checkpoint).preprocessing, Augmentation(), cache_dir=cache)
    dataset = data.dataset("train", augmented=False)
    shown = denormalised(dataset[0, None][0], data.preprocessing)
    path = data.images.root / data.images.samples["train"][0].path
    expected = evaluation_crop(data.preprocessing)(open_rgb(path)) / 255
    assert torch.allclose(shown, expected, atol=1e-6)


def test_chosen_images_are_different_and_the_same_each_time() -> None:
    assert chosen(100, 16, seed=1) == chosen(100, 16, seed=1) != chosen(100, 16, seed=2)
    assert len(set(chosen(100, 16, seed=1))) == 16
    assert chosen(3, 16, seed=1) == [0, 1, 2]


def test_three_bands_are_shown_and_one_is_grey() -> None:
    image = torch.arange(5).mul(50).to(torch.uint8)[:, None, None].expand(5, 2, 2)
    assert as_rgb(image)[:, 0, 0].tolist() == pytest.approx([0, 0.5, 1])
    assert as_rgb(image, (4, 3, 0))[:, 0, 0].tolist() == pytest.approx([1, 0.75, 0])
    assert as_rgb(image[1:4], (2, 1, 0))[:, 0, 0].tolist() == pytest.approx([n / 255 for n in (50, 100, 150)])
    assert as_rgb(image[2:3])[:, 0, 0].tolist() == pytest.approx([100 / 255] * 3)
    assert as_rgb(image[1:3].float() / 255)[:, 0, 0].tolist() == pytest.approx([50 / 255] * 3)


def test_bands_that_the_images_lack_are_refused() -> None:
    callback = TensorBoardImages(bands=[0, 1, 5])
    data = SimpleNamespace(preprocessing=SimpleNamespace(channels=5))
    with pytest.raises(UserError, match=r"bands=\[0,1,5\]: write one or three of the images' bands, 0 to 4"):
        callback.refuse_absent_bands(data)  # type: ignore[arg-type]


def test_images_that_cannot_be_shown_in_the_end_are_a_warning(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("graft.reporting.board.callback.framed", fail)
    with caplog.at_level(logging.WARNING):
        train(make_config("trainer.max_epochs=1", board=True))
    assert "TensorBoard lacks the validation images (MemoryError: too large)" in caplog.text
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_class_with_dollars_is_no_formula(make_record: MakeRecord, tmp_path: Path) -> None:
    task = task_of("multiclass", ("$a_b_c$", "b"))
    run = make_record(task, [("$a_b_c$",), ("b",)], 9 * torch.eye(2))
    settings = {**run.settings, "logger": {"tensorboard": {"save_dir": str(tmp_path / "tensorboard")}}}
    write_results(replace(run, settings={**settings, "report": False}))
    assert "when done/Confusion matrix" in events_of(tmp_path).Tags()["images"]


def test_frames_have_the_colour_of_the_label() -> None:
    images = framed(torch.zeros(3, 3, INNER, INNER), ["cat", "dog", "cat"])
    corners = images[:, :, 0, 0]
    assert torch.equal(corners[0], corners[2])
    assert not torch.equal(corners[0], corners[1])
    assert not images[:, :, FRAME:-FRAME, FRAME:-FRAME].any()


def test_titles_say_what_an_image_is_and_what_is_predicted() -> None:
    classes = task_of("multiclass", ("cat", "dog"))
    assert title(classes, ("cat",), [0.2, 0.8]) == "true cat\npred. dog 80%"
    labels = task_of("multilabel", ("cat", "dog"), thresholds=(0.5, 0.5))
    assert title(labels, (), [0.6, 0.8]) == "true none\npred. cat;dog"
    assert title(labels, ("cat", "dog"), [0.1, 0.1]) == "true cat;dog\npred. none"
    numbers = task_of("regression", ("age",), mean=(0.0,), std=(1.0,))
    assert title(numbers, ("41",), [40.25]) == "true 41\npred. 40.25"


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_the_board_of_labels_and_numbers_has_their_figures(
    make_config: MakeConfig, tmp_path: Path, images: Path, kind: str
) -> None:
    rows = []
    for number, file in enumerate(sorted(images.glob("*/*.jpg"))):
        path = file.relative_to(images).as_posix()
        rows.append(f"{path},{number % 7},{int(file.parent.name == 'dark')},{number % 2}\n")
    (tmp_path / "labels.csv").write_text("path,age,dark,odd\n" + "".join(rows), encoding="utf-8")
    target = "[dark,odd]" if kind == "multilabel" else "age"
    settings = (f"task={kind}", "data=table", f"data.file={tmp_path}/labels.csv", f"data.target={target}")
    run = reported(make_config(*settings, "trainer.max_epochs=1", "report=true", board=True))
    events = events_of(tmp_path / "run")
    figures = {
        "what the network sees/training images",
        "what the network sees/validation images and predictions",
    }
    own = {
        "multilabel": "when done/Precision and recall",
        "regression": "when done/age: predicted against true",
    }
    assert figures | {own[kind]} <= set(events.Tags()["images"])
    assert "when done/Confusion matrix" not in events.Tags()["images"]
    assert f"when done/test {'f1' if kind == 'multilabel' else 'mae'}" in events.Tags()["scalars"]
    assert (tmp_path / "run" / "report.html").is_file()
    folder = next((tmp_path / "run" / "tensorboard").glob("**/tensors.tsv")).parent
    with (folder / "metadata.tsv").open(encoding="utf-8") as lines:
        shown = {row["path"]: row["label"] for row in csv.DictReader(lines, delimiter="\t")}
    targets = {sample.path: ";".join(sample.target) or "none" for sample in run.splits["val"]}
    assert shown == targets


def test_a_task_of_ones_own_may_be_imported_again_for_the_overlays(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[str] = []

    class Overlays:
        def __init__(self, _: Path, allow: list[str], bands: object) -> None:
            allowed.extend(allow)
            assert bands is None

    monkeypatch.setattr("graft.reporting.results.Overlays", Overlays)
    run = make_record(task_of("multiclass", "ab"), [("a",), ("b",)], torch.eye(2))
    settings = {**run.settings, "report": False, "task": {"_target_": "mine.tasks.Ordinal"}}
    write_results(replace(run, settings=settings))
    assert "mine" in allowed


def test_a_figure_that_fails_is_a_warning(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("graft.reporting.report.tested.confusion_figure", fail)
    with caplog.at_level(logging.WARNING):
        reported(make_config("trainer.max_epochs=1", board=True))
    assert "TensorBoard lacks the test figures (OSError: disk full)" in caplog.text
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_without_its_package_says_how_to_install_it(make_config: MakeConfig, name: str) -> None:
    with pytest.raises(UserError, match=rf'pip install -e "\.\[{name}\]"'):
        train(make_config(f"logger={name}"))


def test_names_that_are_no_utf_8_are_shown_by_board_and_report(
    make_config: MakeConfig, tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, file in enumerate(sorted((images / "dark").iterdir())):
        odd = os.fsencode(images / "dark") + b"/caf\xe9-%d.jpg" % number
        os.rename(os.fsencode(file), odd)  # noqa: PTH104 -- Path takes no bytes
    os.rename(os.fsencode(images / "light"), os.fsencode(images) + b"/b\xe9")  # noqa: PTH104
    with caplog.at_level(logging.WARNING):
        reported(make_config("trainer.max_epochs=1", "report=true", board=True))
    assert "TensorBoard lacks" not in caplog.text
    assert "is not written" not in caplog.text
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "b\\xe9" in page
    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8") as lines:
        assert {row["label"] for row in csv.DictReader(lines)} == {"dark", "b\\xe9"}
