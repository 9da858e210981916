"""TensorBoard has the images, figures, embeddings and settings of a run."""

import csv
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from graft.data.images import open_rgb
from graft.data.transforms import evaluation_crop
from graft.errors import UserError
from graft.reporting.board.start import chosen, denormalised
from graft.training.run import build_classifier, train
from tests.conftest import MakeConfig


def events_of(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0})
    found.Reload()
    return found


@pytest.mark.parametrize("cache", ["auto", "false"])
def test_a_run_shows_images_figures_embeddings_and_settings(
    make_config: MakeConfig, tmp_path: Path, cache: str
) -> None:
    metrics = train(
        make_config("trainer.max_epochs=2", f"features.cache={cache}", "optimizer.lr=0.00001", board=True)
    )
    events = events_of(tmp_path / "run")
    figures = {"images/training, as the network sees them", "images/validation, with predictions"}
    figures |= {"test/confusion matrix", "test/precision and recall"}
    assert figures <= set(events.Tags()["images"])
    assert "train/images_per_second" in events.Tags()["scalars"]
    (settings,) = events.Tensors("settings/text_summary")
    assert b"name: test_efficientnet" in settings.tensor_proto.string_val[0]
    final = events.Scalars("final/test accuracy")
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
    train(make_config("trainer.max_epochs=1", "optimizer.lr=0.125", board=True))
    content = events_of(tmp_path / "run").summary_metadata["_hparams_/session_start_info"]
    start = HParamsPluginData.FromString(content.plugin_data.content).session_start_info
    assert start.hparams["learning rate"].number_value == 0.125
    assert start.hparams["model"].string_value == "test_efficientnet"
    assert {"learning rate", "model"} <= set(sorted(start.hparams)[:5])  # TensorBoard shows those at once.
    content = events_of(tmp_path / "run").summary_metadata["_hparams_/experiment"]
    experiment = HParamsPluginData.FromString(content.plugin_data.content).experiment
    named = {info.name.tag for info in experiment.metric_infos}
    assert {"final/test accuracy", "final/val accuracy"} <= named


def test_mistakes_have_heat_maps_beside_them(make_config: MakeConfig, tmp_path: Path) -> None:
    pytest.importorskip("pytorch_grad_cam")
    few = ("data.val_fraction=0.4", "data.test_fraction=0.4", "optimizer.lr=0.0000001")
    metrics = train(make_config("trainer.max_epochs=1", "seed=3", *few, board=True))
    assert metrics["test/accuracy"] < 1
    assert "test/most confident mistakes" in events_of(tmp_path / "run").Tags()["images"]


def test_denormalised_images_are_the_cropped_images(make_config: MakeConfig) -> None:
    config = make_config("augmentation=none", board=True)
    data = instantiate(config.data)
    build_classifier(config, data)
    dataset = data.images("train", augmented=False)
    shown = denormalised(dataset[0, None][0], data.preprocessing)
    path = data.root / data.samples["train"][0].path
    expected = evaluation_crop(data.preprocessing)(open_rgb(path)) / 255
    assert torch.allclose(shown, expected, atol=1e-6)


def test_chosen_images_are_different_and_the_same_each_time() -> None:
    assert chosen(100, 16, seed=1) == chosen(100, 16, seed=1) != chosen(100, 16, seed=2)
    assert len(set(chosen(100, 16, seed=1))) == 16
    assert chosen(3, 16, seed=1) == [0, 1, 2]


def test_a_figure_that_fails_is_a_warning(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("graft.reporting.board.results.confusion_figure", fail)
    with caplog.at_level(logging.WARNING):
        train(make_config("trainer.max_epochs=1", board=True))
    assert "TensorBoard lacks the figures of the test (OSError: disk full)" in caplog.text
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_without_its_package_says_how_to_install_it(make_config: MakeConfig, name: str) -> None:
    with pytest.raises(UserError, match=rf'pip install "graft\[{name}\]"'):
        train(make_config(f"logger={name}"))


def test_names_that_are_no_utf_8_are_shown_by_board_and_report(
    make_config: MakeConfig, tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, file in enumerate(sorted((images / "dark").iterdir())):
        odd = os.fsencode(images / "dark") + b"/caf\xe9-%d.jpg" % number
        os.rename(os.fsencode(file), odd)  # noqa: PTH104 -- Path takes no bytes
    os.rename(os.fsencode(images / "light"), os.fsencode(images) + b"/b\xe9")  # noqa: PTH104
    with caplog.at_level(logging.WARNING):
        train(make_config("trainer.max_epochs=1", "report=true", board=True))
    assert "TensorBoard lacks" not in caplog.text
    assert "is not written" not in caplog.text
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "b\\xe9" in page
    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8") as lines:
        assert {row["label"] for row in csv.DictReader(lines)} == {"dark", "b\\xe9"}
