# room: inference/export
"""An 8-bit file is smaller, is used like any other, and its metric is measured on validation images."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from graft import load
from graft.data.sample import Sample
from graft.errors import UserError
from graft.inference.export.quantisation import quantise
from graft.tasks.task import Task
from graft.training.run import train
from tests.conftest import MakeConfig, task_of, write_checkpoint


def test_a_quantised_run_classifies_as_the_checkpoint_does(make_config: MakeConfig, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    config = make_config("optimizer.lr=0.1", "trainer.max_epochs=6")
    train(config)
    (tmp_path / "run" / ".hydra").mkdir()
    OmegaConf.save(config, tmp_path / "run" / ".hydra" / "config.yaml")  # As the command does.
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    done = quantise(best, tmp_path / "small.onnx")
    assert (done.figure, done.value, done.eager_value) == ("accuracy", 1.0, 1.0)
    rows = (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8").splitlines()
    paths = [tmp_path / "images" / row.split(",")[0] for row in rows if row.endswith(",val")]
    assert done.images == len(paths)
    both = zip(load(done.file).predict(paths), load(best).predict(paths), strict=True)
    probabilities = [(one.values[0], other.values[0]) for one, other in both]
    assert all(a == pytest.approx(b, abs=0.2) for a, b in probabilities)
    assert any(a != b for a, b in probabilities)


@pytest.mark.parametrize(
    ("task", "target", "metric"),
    [
        (task_of("multilabel", ("dark", "light"), thresholds=[0.5, 0.5]), ("light",), "average_precision"),
        (task_of("regression", ("shade",), mean=[100.0], std=[50.0]), ("80",), "mae"),
    ],
)
def test_labels_and_numbers_are_compared_by_their_own_metric(
    tmp_path: Path, images: Path, task: Task, target: tuple[str, ...], metric: str
) -> None:
    pytest.importorskip("onnxruntime")
    checkpoint = write_checkpoint(tmp_path / "tiny.ckpt", task=task)
    samples = [Sample(f"dark/{number:03d}.jpg", ("dark",) if number else target) for number in range(4)]
    if task.name == "regression":
        samples = [Sample(f"dark/{number:03d}.jpg", (str(70 + number),)) for number in range(4)]
    done = quantise(checkpoint, tmp_path / "small.onnx", (images, samples))
    assert (done.figure, done.images) == (metric, 4)
    assert sorted(file.name for file in tmp_path.glob("*.onnx")) == ["small.onnx"]
    assert load(done.file).task == task


def test_a_checkpoint_without_its_run_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match="needs the validation images"):
        quantise(checkpoint, tmp_path / "small.onnx")
