"""An 8-bit file is smaller, is used like any other, and its accuracy is measured on validation images."""

from pathlib import Path

import pytest

from graft import load
from graft.data.folder import scan_folder
from graft.errors import UserError
from graft.inference.export.quantisation import quantise, validation_images
from graft.training.run import train
from tests.conftest import MakeConfig


def test_a_quantised_run_classifies_as_the_checkpoint_does(make_config: MakeConfig, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    train(make_config("head.solver=lbfgs"))
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    root = tmp_path / "images"
    samples = [sample for sample in scan_folder(root) if sample.path.endswith(("1.jpg", "2.jpg"))]
    done = quantise(best, tmp_path / "small.onnx", root, samples)
    assert done.float_accuracy == 1.0
    assert done.accuracy == 1.0
    assert done.images == len(samples)
    paths = [root / sample.path for sample in samples]
    model = load(done.file)
    both = zip(model.predict(paths), load(best).predict(paths), strict=True)
    shares = [(one.probability, other.probability) for one, other in both]
    assert all(a == pytest.approx(b, abs=0.2) for a, b in shares)
    assert any(a != b for a, b in shares)


def test_a_checkpoint_without_its_run_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="needs the validation images"):
        validation_images(checkpoint)
