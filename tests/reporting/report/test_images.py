"""The right images are shown, small."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from graft.data.folder import scan_folder
from graft.reporting.report.images import confident_mistakes, examples, least_certain, thumbnail


def test_mistakes_are_ordered_by_confidence_and_the_uncertain_by_its_lack() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]])
    labels = np.array([0, 1, 0, 1])
    assert confident_mistakes(probabilities, labels) == [2, 1]
    assert least_certain(probabilities) == [3, 1, 2, 0]


def test_a_thumbnail_is_a_small_jpeg(tmp_path: Path) -> None:
    Image.new("I;16", (400, 200), 65535).save(tmp_path / "wide.png")
    kind, _, contents = thumbnail(tmp_path / "wide.png").partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(contents))) as image:
        assert (image.size, image.getpixel((0, 0))) == ((96, 48), (255, 255, 255))


def test_a_vanished_image_has_no_thumbnail(tmp_path: Path) -> None:
    assert thumbnail(tmp_path / "gone.jpg") == ""


def test_there_are_at_most_four_examples_of_a_class(images: Path) -> None:
    found = examples(images, scan_folder(images), ["dark", "light", "absent"])
    assert {name: len(set(uris)) for name, uris in found.items()} == {"dark": 4, "light": 4, "absent": 0}
