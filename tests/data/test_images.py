"""Every pixel format becomes correct 8-bit RGB."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.data.images import open_rgb, picture_endings

GREY = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def opened(path: Path) -> np.ndarray:
    picture = open_rgb(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


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


def test_float_between_0_and_1_is_scaled_to_the_full_range(tmp_path: Path) -> None:
    Image.fromarray((GREY / 255).astype(np.float32)).save(tmp_path / "a.tif")
    assert (opened(tmp_path / "a.tif")[..., 0] == GREY).all()


def test_transparent_pixels_are_white_whatever_colour_lies_below(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, :] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = opened(tmp_path / "a.png")
    assert (found[:4] == (10, 20, 30)).all()
    assert (found[4:] == 255).all()


def test_half_transparent_grey_is_mixed_with_white(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([np.zeros((8, 8), np.uint8), np.full((8, 8), 128, np.uint8)]), "LA").save(
        tmp_path / "a.png"
    )
    assert abs(opened(tmp_path / "a.png").astype(int) - 127).max() <= 1


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((8, 8), np.uint8), "P")
    picture.putpalette([200, 100, 50])
    picture.save(tmp_path / "a.gif")
    assert (opened(tmp_path / "a.gif") == (200, 100, 50)).all()


def test_a_palettes_transparent_colour_is_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((8, 8), np.uint8), "P")
    picture.putpalette([200, 100, 50])
    picture.save(tmp_path / "a.png", transparency=0)
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
    assert path.suffix in picture_endings()


def test_documents_and_films_are_no_pictures() -> None:
    assert not {".pdf", ".eps", ".mpg", ".h5", ".csv", ".txt"} & picture_endings()
