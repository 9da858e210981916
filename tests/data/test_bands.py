"""Images of any number of channels: read from arrays, TIFF and what Pillow opens, scaled to 0..1."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import graft.data.channels
from graft.data.channels import channel_statistics
from graft.data.checks import inspect_images, without_unreadable
from graft.data.images import image_extensions, read_image
from graft.data.sample import Sample
from graft.data.transforms import evaluation_transform
from graft.errors import UserError
from graft.preprocessing import Preprocessing

CHANCE = np.random.default_rng(0)
BANDS = CHANCE.integers(0, 65536, (20, 24, 13), np.uint16)


def read(path: Path, channels: int, **options: object) -> np.ndarray:
    tensor = read_image(path, channels, **options)  # type: ignore[arg-type]
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    return tensor.numpy()


def expected(bands: np.ndarray, white: float = 65535) -> np.ndarray:
    return np.moveaxis(bands / white, -1, 0)


@pytest.mark.parametrize("first", [False, True])
def test_the_axis_of_the_channels_is_recognised(tmp_path: Path, first: bool) -> None:
    array = np.moveaxis(BANDS, -1, 0) if first else BANDS
    np.save(tmp_path / "a.npy", array)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    for name in ("a.npy", "a.tif"):
        assert np.allclose(read(tmp_path / name, 13), expected(BANDS), atol=1e-6)


def test_where_both_axes_fit_the_channels_are_last(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS[:13])
    assert np.allclose(read(tmp_path / "a.npy", 13), expected(BANDS[:13]), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"planarconfig": "separate"}])
def test_four_bands_of_a_tiff_keep_their_16_bits(tmp_path: Path, options: dict[str, object]) -> None:
    four = BANDS[..., :4]
    planar = options.get("planarconfig") == "separate"
    array = np.moveaxis(four, -1, 0) if planar else four
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", **options)
    assert np.allclose(read(tmp_path / "a.tif", 4), expected(four), atol=1e-6)


@pytest.mark.parametrize("suffix", ["npy", "tif", "png"])
def test_8_and_16_bit_grey_is_one_channel(tmp_path: Path, suffix: str) -> None:
    for grey, white in ((BANDS[..., 0], 65535), ((BANDS[..., 0] >> 8).astype(np.uint8), 255)):
        path = tmp_path / f"a.{suffix}"
        if suffix == "npy":
            np.save(path, grey)
        else:
            Image.fromarray(grey).save(path)
        assert np.allclose(read(path, 1), grey[None] / white, atol=1e-6)


def test_colour_becomes_one_grey_channel_with_transparency_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 6), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png", 1) == 1).all()
    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "b.png")
    assert read(tmp_path / "b.png", 1) == pytest.approx(76 / 255)


def test_transparency_is_the_second_or_the_fourth_channel(tmp_path: Path) -> None:
    pixels = CHANCE.integers(0, 256, (8, 6, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.allclose(read(tmp_path / "a.png", 4), expected(pixels, 255), atol=1e-6)
    Image.fromarray(pixels[..., 2:], "LA").save(tmp_path / "b.png")
    assert np.allclose(read(tmp_path / "b.png", 2), expected(pixels[..., 2:], 255), atol=1e-6)


def test_the_exif_orientation_is_applied_to_one_channel(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("L", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg", 1).shape == (1, 20, 10)


def test_a_value_range_scales_16_bits_and_floats_but_not_8_bits(tmp_path: Path) -> None:
    reflectance = BANDS % 10001
    np.save(tmp_path / "a.npy", reflectance)
    np.save(tmp_path / "b.npy", reflectance.astype(np.float64) - 500)
    np.save(tmp_path / "c.npy", (reflectance % 256).astype(np.uint8))
    scaled = read(tmp_path / "a.npy", 13, value_range=(0.0, 10000.0))
    assert np.allclose(scaled, expected(reflectance, 10000), atol=1e-6)
    scaled = read(tmp_path / "b.npy", 13, value_range=(-500.0, 9500.0))
    assert np.allclose(scaled, expected(reflectance, 10000), atol=1e-6)
    scaled = read(tmp_path / "c.npy", 13, value_range=(0.0, 10000.0))
    assert np.allclose(scaled, expected(reflectance % 256, 255), atol=1e-6)
    with pytest.raises(ValueError, match="5000 is expected"):
        read_image(tmp_path / "a.npy", 13, value_range=(0.0, 5000.0))
    with pytest.raises(ValueError, match="do not say what is white"):
        read_image(tmp_path / "b.npy", 13)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 4), np.uint8), "it has 4 bands, data.channels=13 is expected"),
        (np.zeros((13, 8), np.uint8), "it has 1 band, data.channels=13 is expected"),
        (np.zeros((2, 8, 8, 13), np.uint8), "shape"),
        (np.zeros((8, 8, 13), np.complex64), "type complex64"),
        (np.zeros((0, 8, 13), np.uint8), "shape"),
        (np.array([{}]), "allow_pickle"),
    ],
)
def test_what_does_not_fit_is_unreadable(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    assert message in inspect_images([path], tmp_path / "seen.tsv", 13)[1][path]


def test_a_photograph_has_no_thirteen_bands(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"it has 3 bands, data\.channels=13"):
        read_image(tmp_path / "a.jpg", 13)


@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_what_pillow_cannot_open_becomes_8_bit_rgb(tmp_path: Path, suffix: str) -> None:
    values = CHANCE.integers(0, 256, (8, 6, 3)).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, photometric="rgb")
    image = read_image(BytesIO(path.read_bytes()), 3, value_range=(0.0, 255.0))
    assert isinstance(image, Image.Image)
    assert (np.asarray(image) == values).all()
    _, bad, ranges = inspect_images([path], tmp_path / "seen.tsv")
    assert not bad
    assert ranges == {str(path): (values.min(), values.max())}


def samples_of(root: Path, *arrays: np.ndarray) -> list[Sample]:
    root.mkdir(exist_ok=True)
    for number, array in enumerate(arrays):
        np.save(root / f"{number}.npy", array)
    return [Sample(f"{number}.npy", ("a",), stratum="a") for number in range(len(arrays))]


@pytest.mark.parametrize(
    ("arrays", "stated", "expected"),
    [
        ([BANDS >> 12, BANDS >> 12], None, (0, 65535)),  # however dark 16-bit images are
        ([BANDS // 7, BANDS // 7], (0.0, 10000.0), (0, 10000)),
        ([BANDS / 65535, BANDS / 70000], None, (0, 1)),
        ([BANDS / 65535, BANDS >> 12], None, (0, 65535)),
        ([(BANDS >> 8).astype(np.uint8)], (0.0, 10000.0), None),
    ],
)
def test_the_value_range_of_a_data_set(
    tmp_path: Path,
    arrays: list[np.ndarray],
    stated: tuple[float, float] | None,
    expected: tuple[float, float] | None,
) -> None:
    samples = samples_of(tmp_path / "a", *arrays)
    for _ in range(2):  # measured, and remembered
        readable, value_range = without_unreadable(tmp_path / "a", samples, "raise", tmp_path, stated, 13)
        assert value_range == expected
        for sample in readable:
            assert 0 <= read(tmp_path / "a" / sample.path, 13, value_range=value_range).max() <= 1


def test_values_outside_of_the_stated_range_are_named(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "a", BANDS, BANDS >> 4)
    with pytest.raises(
        UserError, match=r"1 unreadable images: .*0\.npy .*data\.value_range=\[0\.0, 10000\.0\]"
    ):
        without_unreadable(tmp_path / "a", samples, "raise", tmp_path, (0.0, 10000.0), 13)


def test_another_number_of_channels_is_checked_anew(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "a", (BANDS >> 8).astype(np.uint8))
    assert without_unreadable(tmp_path / "a", samples, "raise", tmp_path, None, 13)
    with pytest.raises(UserError, match=r"it has 13 bands, data\.channels=4 is expected"):
        without_unreadable(tmp_path / "a", samples, "raise", tmp_path, None, 4)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS, photometric="minisblack")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(UserError, match=r"tifffile is not installed; .*\.\[bands\]"):
        inspect_images([tmp_path / "a.tif"], tmp_path / "seen.tsv", 13)


def test_extensions_depend_on_the_channels() -> None:
    assert image_extensions(13) == {".npy", ".tif", ".tiff"}
    assert {".npy", ".tif", ".jpg", ".png"} <= image_extensions(1)
    assert ".npy" not in image_extensions(3)


@pytest.mark.parametrize("channels", [1, 13])
def test_mean_and_deviation_are_those_of_all_pixels(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [BANDS[..., :channels], BANDS[3:9, :, :channels], BANDS[:, 5:, :channels] >> 1]
    samples = samples_of(tmp_path / "a", *arrays)
    samples, value_range = without_unreadable(tmp_path / "a", samples, "raise", tmp_path, None, channels)
    arguments = (tmp_path / "a", samples, channels, value_range, tmp_path)
    mean, std = channel_statistics(*arguments)
    pixels = np.concatenate([array.reshape(-1, channels) for array in arrays]) / 65535
    assert mean == pytest.approx(pixels.mean(0), rel=1e-5)
    assert std == pytest.approx(pixels.std(0), rel=1e-5)
    damaged = next((tmp_path / "channels").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(graft.data.channels, "moments", None)  # which is not called again
        assert channel_statistics(*arguments) == (mean, std)
    damaged.write_text("[", encoding="utf-8")
    assert channel_statistics(*arguments) == (mean, std)
    adapted = Preprocessing((8,), (8, 8), "bilinear", True, mean, std)
    assert adapted.channels == channels
    inputs = torch.cat([evaluation_transform(adapted)(read_image(tmp_path / "a" / "0.npy", channels))])
    assert inputs.shape == (channels, 8, 8)


def test_a_constant_channel_is_not_divided_by_zero(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "a", np.full((4, 4, 2), 51, np.uint8))
    mean, std = channel_statistics(tmp_path / "a", samples, 2, None, tmp_path)
    assert mean == pytest.approx((0.2, 0.2))
    assert std == (1.0, 1.0)
