"""The right pictures are shown, small."""

import base64
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.data.folder import scan_folder
from graft.report.pictures import confident_mistakes, examples, least_certain, overlays, thumbnail
from tests.conftest import write_checkpoint


def test_mistakes_are_ordered_by_confidence_and_the_uncertain_by_its_lack() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]])
    labels = np.array([0, 1, 0, 1])
    assert confident_mistakes(probabilities, labels) == [2, 1]
    assert least_certain(probabilities) == [3, 1, 2, 0]


def test_a_thumbnail_is_a_small_jpeg(tmp_path: Path) -> None:
    Image.new("I;16", (400, 200), 65535).save(tmp_path / "wide.png")
    kind, _, contents = thumbnail(tmp_path / "wide.png").partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(contents))) as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((96, 48), (255, 255, 255))


def test_a_vanished_picture_has_no_thumbnail(tmp_path: Path) -> None:
    assert thumbnail(tmp_path / "gone.jpg") == ""


def test_there_are_at_most_four_examples_of_a_class(pictures: Path) -> None:
    found = examples(pictures, scan_folder(pictures), ["dark", "light", "absent"])
    assert {name: len(set(uris)) for name, uris in found.items()} == {"dark": 4, "light": 4, "absent": 0}


def test_overlays_are_drawn_where_they_can_be_and_else_the_reason_is_given(
    pictures: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pytorch_grad_cam")
    path = pictures / "dark" / "000.jpg"
    found, reason = overlays(checkpoint, [path])
    assert found[path].startswith("data:image/jpeg")
    assert reason == ""
    assert "checkpoint" in overlays(tmp_path / "exported.onnx", [path])[1]


def test_without_grad_cam_the_extra_is_named(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    found, reason = overlays(write_checkpoint(tmp_path / "a.ckpt", ["a", "b"]), [pictures / "dark/000.jpg"])
    assert found == {}
    assert "graft[explain]" in reason
