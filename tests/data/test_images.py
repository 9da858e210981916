"""Every pixel format becomes correct 8-bit RGB."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image
from torchvision.transforms import v2

from graft.data.checks import inspect_images
from graft.data.decoded import decoding_side
from graft.data.images import image_extensions, open_rgb, usual_range
from graft.data.resizing import CropStrips
from graft.data.transforms import evaluation_crop, evaluation_transform
from graft.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((256,), (224, 224), "bicubic", True, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
GREY = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def opened(path: Path) -> np.ndarray:
    image = open_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_grey_is_the_same_in_all_three_channels(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert (opened(tmp_path / "a.png") == GREY[..., None]).all()


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    assert (opened(tmp_path / "a.png")[..., 0] == np.where(GREY > 100, 255, 0)).all()


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = GREY.astype(np.uint16) * 257
    Image.fromarray(values).save(tmp_path / "a.png")
    assert (opened(tmp_path / "a.png")[..., 0] == GREY).all()


def test_16_bit_tiff_of_the_other_byte_order_is_scaled(tmp_path: Path) -> None:
    big_endian = (GREY.astype(np.uint16) * 257).astype(">u2").tobytes()
    Image.frombytes("I;16B", (8, 8), big_endian).save(tmp_path / "a.tif")
    assert (opened(tmp_path / "a.tif")[..., 0] == GREY).all()


def test_float_and_32_bit_grey_is_scaled_from_the_range_of_the_data_set(tmp_path: Path) -> None:
    for values, value_range in (
        ((GREY / 255).astype(np.float32), (0.0, 1.0)),
        (GREY.astype(np.float32), (0.0, 255.0)),
        (GREY.astype(np.int32), (0.0, 255.0)),
        (GREY.astype(np.float32) * 2 - 100, (-100.0, 410.0)),
    ):
        Image.fromarray(values).save(tmp_path / "a.tif")
        assert (np.asarray(open_rgb(tmp_path / "a.tif", value_range=value_range))[..., 0] == GREY).all()


def test_without_a_range_no_range_is_guessed_and_values_outside_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.1, 0.9]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="do not say what is white"):
        open_rgb(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"from 0\.1 to 0\.9, 0 to 0\.5 is expected"):
        open_rgb(tmp_path / "a.tif", value_range=(0.0, 0.5))


def test_16_bit_png_has_the_range_of_its_bits_however_dark_it_is(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 200], [100, 257]], np.uint16)).save(tmp_path / "a.png")
    assert opened(tmp_path / "a.png").max() == 1
    ranges = inspect_images([tmp_path / "a.png"], tmp_path / "seen.tsv")[2]
    assert ranges == {str(tmp_path / "a.png"): (0, 257, 65535)}


def test_a_stated_range_holds_for_16_bit_grey_too(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "a.png")
    shown = np.asarray(open_rgb(tmp_path / "a.png", value_range=(0.0, 4095.0)))
    assert shown[0, :, 0].tolist() == [0, 255]
    with pytest.raises(ValueError, match=r"from 0 to 4095, 0 to 1000 is expected"):
        open_rgb(tmp_path / "a.png", value_range=(0.0, 1000.0))


@pytest.mark.parametrize("values", [[0.5, np.nan], [0.5, np.inf]])
def test_values_that_are_not_finite_are_reported_as_unreadable(tmp_path: Path, values: list[float]) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([values], np.float32)).save(path)
    assert "not finite" in inspect_images([path], tmp_path / "seen.tsv")[1][path]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 0.9, (0, 1)), (0, 1.5, (0, 255)), (3, 4000, (0, 65535)), (0, 70000, (0, 70000)), (-1, 1, (-1, 1))],
)
def test_the_usual_range_is_the_smallest_that_holds_the_data_set(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    assert usual_range(low, high) == expected


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (60_000, 3)])
def test_a_strip_is_cropped_before_it_is_resized(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 20, 30))
    result = evaluation_crop(PREPROCESSING)(image)
    assert tuple(result.shape) == (3, 224, 224)
    assert max(CropStrips()(image).size) <= 16 * min(size) + 1
    assert result[:, 0, 0].tolist() == [10, 20, 30]


def test_cropping_a_strip_changes_nothing_that_the_network_sees() -> None:
    moderate = smooth(1500, 100)
    assert CropStrips()(moderate) is moderate
    strip = smooth(4000, 100)
    plain = v2.Compose(evaluation_crop(PREPROCESSING).transforms[1:])
    difference = (evaluation_crop(PREPROCESSING)(strip).int() - plain(strip).int()).abs()
    assert difference.max() <= 2


def smooth(width: int, height: int) -> Image.Image:
    """A image of slow waves, another in each channel."""
    y, x = np.mgrid[0:height, 0:width] / height
    waves = [np.sin(5 * x + 3 * y), np.cos(4 * x - 2 * y), np.sin(2 * x) * np.cos(6 * y)]
    return Image.fromarray((np.stack(waves, -1) * 120 + 128).astype(np.uint8))


@pytest.mark.parametrize(("orientation", "size"), [(1, (1000, 750)), (6, (750, 1000))])
def test_a_large_jpeg_is_decoded_no_larger_than_needed_and_looks_the_same(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth(4000, 3000).save(tmp_path / "a.jpg", quality=92, exif=exif)
    side = decoding_side(PREPROCESSING)
    reduced = open_rgb(tmp_path / "a.jpg", side)
    assert reduced.size == size
    assert min(reduced.size) >= side
    whole = open_rgb(tmp_path / "a.jpg")
    assert max(whole.size) == 4000
    transform = evaluation_transform(PREPROCESSING)
    assert (transform(reduced) - transform(whole)).abs().max() < 0.05  # about three of 256 grey values


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize(("side", "reduction", "bound"), [(106, 2, 2.5), (53, 4, 2.5), (26, 8, 4.0)])
def test_what_a_network_sees_of_a_sharp_photograph_hardly_differs(
    name: str, side: int, reduction: int, bound: float
) -> None:
    """The bounds are mean differences in grey values of 256; the sides are the least favourable ones."""
    photograph = Path(sklearn.datasets.__file__).parent / "images" / name
    preprocessing = Preprocessing((side,), (side, side), "bicubic", True, (0.5,) * 3, (0.25,) * 3)
    reduced, whole = open_rgb(photograph, decoding_side(preprocessing)), open_rgb(photograph)
    assert reduced.size == tuple(-(-length // reduction) for length in whole.size)
    crop = evaluation_crop(preprocessing)
    seen, expected = crop(reduced).float(), crop(whole).float()
    assert 0 < (seen - expected).abs().mean() < bound
    assert expected.std() > 60


def test_a_jpeg_that_is_not_large_and_other_formats_stay_as_they_are(tmp_path: Path) -> None:
    side = decoding_side(PREPROCESSING)
    smooth(900, 700).save(tmp_path / "small.jpg", quality=92)
    smooth(2400, 1800).save(tmp_path / "large.png")
    for name in ("small.jpg", "large.png"):
        assert (np.asarray(open_rgb(tmp_path / name, side)) == opened(tmp_path / name)).all()


def test_transparent_pixels_are_white_whatever_colour_lies_below(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, :] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    result = opened(tmp_path / "a.png")
    assert (result[:4] == (10, 20, 30)).all()
    assert (result[4:] == 255).all()


def test_half_transparent_grey_is_mixed_with_white(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([np.zeros((8, 8), np.uint8), np.full((8, 8), 128, np.uint8)]), "LA").save(
        tmp_path / "a.png"
    )
    assert abs(opened(tmp_path / "a.png").astype(int) - 127).max() <= 1


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((8, 8), np.uint8), "P")
    image.putpalette([200, 100, 50])
    image.save(tmp_path / "a.gif")
    assert (opened(tmp_path / "a.gif") == (200, 100, 50)).all()


def test_a_palettes_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((8, 8), np.uint8), "P")
    image.putpalette([200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    assert (opened(tmp_path / "a.png") == 255).all()


def test_a_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 40, 40)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    red, green, blue = opened(tmp_path / "a.jpg").mean(axis=(0, 1))
    assert red > 180
    assert green < 60
    assert blue < 60


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert open_rgb(tmp_path / "a.jpg").size == (10, 20)


@pytest.mark.parametrize("ending", ["gif", "webp", "tif", "bmp", "ppm", "jfif", "jpeg", "tga"])
def test_common_formats_are_opened(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 8), (90, 90, 90)).save(path, format="JPEG" if ending == "jfif" else None)
    assert abs(opened(path).astype(int) - 90).max() <= 3
    assert path.suffix in image_extensions()


def test_documents_and_films_are_no_images() -> None:
    assert not {".pdf", ".eps", ".mpg", ".h5", ".csv", ".txt"} & image_extensions()
