# room: reporting
"""The right images are shown, small."""

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.inference.runtimes import load_model
from graft.preprocessing import Preprocessing
from graft.reporting.report.images import examples, thumbnail
from tests.conftest import make_sample, scan_folder, task_of


@pytest.fixture
def preprocessing(checkpoint: Path) -> Preprocessing:
    return load_model(checkpoint).preprocessing


def opened(uri: str) -> Image.Image:
    kind, _, contents = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(BytesIO(base64.b64decode(contents)))


def test_a_thumbnail_is_a_small_jpeg(tmp_path: Path, preprocessing: Preprocessing) -> None:
    Image.new("I;16", (400, 200), 65535).save(tmp_path / "wide.png")
    image = opened(thumbnail(tmp_path / "wide.png", preprocessing))
    assert (image.size, image.getpixel((0, 0))) == ((320, 160), (255, 255, 255))


def test_a_thumbnail_of_floats_is_as_bright_as_the_network_sees_it(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    Image.fromarray(np.full((40, 40), 5.0, dtype=np.float32)).save(tmp_path / "float.tiff")
    image = opened(thumbnail(tmp_path / "float.tiff", replace(preprocessing, value_range=(0.0, 10.0))))
    assert image.getpixel((0, 0)) == pytest.approx((128, 128, 128), abs=2)


def test_a_vanished_image_has_no_thumbnail(tmp_path: Path, preprocessing: Preprocessing) -> None:
    assert thumbnail(tmp_path / "gone.jpg", preprocessing) == ""


def test_there_are_at_most_four_examples_of_a_class(images: Path, preprocessing: Preprocessing) -> None:
    task = task_of("multiclass", ("dark", "light", "absent"))
    found = examples(images, scan_folder(images), task, preprocessing)
    assert {name: len(set(uris)) for name, uris in found.items()} == {"dark": 4, "light": 4, "absent": 0}


def test_examples_of_numbers_go_from_low_to_high(tmp_path: Path, preprocessing: Preprocessing) -> None:
    samples = []
    for value in (200, 10, 90):
        Image.new("RGB", (8, 8), (value, value, value)).save(tmp_path / f"{value}.png")
        samples.append(make_sample(f"{value}.png", str(value)))
    task = task_of("regression", ("age",), mean=(0.0,), std=(1.0,))
    found = examples(tmp_path, samples, task, preprocessing)
    shades = [opened(uri).convert("L").getpixel((4, 4)) for uri in found["age, from low to high"]]
    assert shades == pytest.approx([10, 90, 200], abs=2)
