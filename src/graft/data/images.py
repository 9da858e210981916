"""Reads images: RGB as 8-bit Pillow images, any other number of channels as float tensors."""

from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from graft.errors import UserError, import_extra

# Documents, films and scientific grids that Pillow can open but nobody means as a photograph.
NOT_IMAGES = {".eps", ".ps", ".pdf", ".mpg", ".mpeg", ".grib", ".h5", ".hdf", ".fits", ".fit", ".bufr"}
NOT_IMAGES |= {".emf", ".wmf", ".cur", ".ani", ".fli", ".flc", ".iim", ".palm", ".blp"}

ARRAY_EXTENSIONS = {".npy", ".tif", ".tiff"}
NPY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
PILLOW_MODES = {1: "L", 2: "LA", 4: "RGBA"}  # by the number of channels; RGB has its own way

ValueRange = tuple[float, float]  # black and white of images that are not 8-bit
USUAL_LIMITS = (1.0, 255.0, 65535.0)

ImageFile = Path | str | BinaryIO
AnyImage = Image.Image | torch.Tensor  # 8-bit RGB, or float32 `[C, H, W]` from 0 to 1


@cache
def image_extensions(channels: int = 3) -> frozenset[str]:
    """Return the lower-case file extensions of images that may have this number of channels."""
    if channels != 3 and channels not in PILLOW_MODES:
        return frozenset(ARRAY_EXTENSIONS)
    Image.init()
    can_open = {extension for extension, name in Image.registered_extensions().items() if name in Image.OPEN}
    return frozenset(can_open - NOT_IMAGES | (ARRAY_EXTENSIONS if channels != 3 else set()))


def read_image(
    file: ImageFile, channels: int = 3, shorter_side: int | None = None, value_range: ValueRange | None = None
) -> AnyImage:
    """Return RGB as `open_rgb` does, any other number of channels as float32 `[C, H, W]` from 0 to 1.

    Raises OSError, ValueError or another error of the decoder's where the file cannot be decoded.
    """
    if channels == 3:
        with suppress(UnidentifiedImageError):
            return open_rgb(file, shorter_side, value_range)
    return from_array(read_bands(file, channels, shorter_side), channels, value_range)


def from_array(array: np.ndarray, channels: int, value_range: ValueRange | None = None) -> AnyImage:
    """Return the image of an array `[H, W, C]`, `[C, H, W]` or `[H, W]`, as `read_image` does.

    Types other than 8- and 16-bit integers need a `value_range`. Raises ValueError where it does not fit.
    """
    values = scale(channels_last(array, channels), value_range)
    if channels == 3:
        return Image.fromarray(np.rint(255 * values).astype(np.uint8))
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float32)).clamp(0, 1)


def reread_image(file: str, channels: int, side: int | None, value_range: ValueRange | None) -> AnyImage:
    """Return an image that could be decoded when the run began; UserError where it cannot be now."""
    try:
        return read_image(file, channels, side, value_range)
    except Exception as error:
        # Decoders raise many types. Another image in its place would be another data set.
        raise UserError(f"{file} cannot be read any more ({error}).") from error


def measure_image(file: BinaryIO, channels: int) -> tuple[float, ...]:
    """Decode an image, and return its smallest and largest value where its type does not say what is white.

    A third number is the white of 16-bit integers, which holds unless a value range is given.
    """
    if channels == 3:
        with suppress(UnidentifiedImageError):
            image = open_upright(file, shorter_side=1)  # A JPEG's smallest size: it is still read to the end.
            if has_free_range(image):
                return extremes(image)
            if image.mode.startswith("I"):
                return (*extremes(image), 65535.0)
            to_rgb(image)
            return ()
    bands = read_bands(file, channels, shorter_side=1)
    if bands.dtype == np.uint8:
        return ()
    return (*extremes(bands), 65535.0) if bands.dtype == np.uint16 else extremes(bands)


def open_upright(file: ImageFile, shorter_side: int | None = None) -> Image.Image:
    """Return the image's first frame in its own mode, turned as its EXIF orientation says."""
    with Image.open(file) as image:
        if shorter_side is not None and image.format in ("JPEG", "MPO"):
            # Decodes fewer coefficients. A square, so that it does not matter which way the image lies.
            image.draft(None, (shorter_side, shorter_side))
        image.load()
        upright = ImageOps.exif_transpose(image)
        upright.format = image.format  # `has_free_range` asks for it.
        return upright


def open_rgb(
    file: ImageFile, shorter_side: int | None = None, value_range: ValueRange | None = None
) -> Image.Image:
    """Return the image's first frame as 8-bit RGB, upright, transparency on white.

    A JPEG may come smaller, as long as its shorter side has `shorter_side` pixels. `value_range` is needed
    for float and 32-bit images, see `to_rgb`.
    """
    return to_rgb(open_upright(file, shorter_side), value_range)


def has_free_range(image: Image.Image) -> bool:
    """Return whether the image's type does not say what is white: float and 32-bit integers do not."""
    # 16-bit PNG and PGM come in Pillow's 32-bit mode, too, but end at 65535.
    return image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM"))


def extremes(image: Any) -> ValueRange:
    """Return the smallest and the largest value of an array; ValueError where one is not finite."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    return float(values.min()), float(values.max())


def usual_range(low: float, high: float) -> ValueRange:
    """Return 0 and the smallest of 1, 255 and 65535 that is no less than `high`, else the measured range."""
    limits = [limit for limit in USUAL_LIMITS if low >= 0 and high <= limit]
    return (0.0, limits[0]) if limits else (low, high)


def to_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Return an image of any mode as 8-bit RGB.

    16-bit, 32-bit and float grey is scaled from `value_range`, which belongs to the data set; without one,
    16-bit grey is scaled from 0 to 65535. Raises ValueError for values outside, and for the others without.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if has_free_range(image) or image.mode.startswith("I"):
        limits = value_range if value_range or has_free_range(image) else (0.0, 65535.0)
        scaled = scale(np.asarray(image).astype(np.float64), limits, 255.0)
        return Image.fromarray(np.rint(scaled).astype(np.uint8), mode="L").convert("RGB")
    if image.has_transparency_data:
        # Dropping alpha would show whatever colour lies under fully transparent pixels.
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def read_bands(file: ImageFile, channels: int, shorter_side: int | None = None) -> np.ndarray:
    opened = file if not isinstance(file, Path | str) else BytesIO(Path(file).read_bytes())
    opened.seek(0)
    start = opened.read(len(NPY))
    opened.seek(0)
    if start == NPY:
        return channels_last(np.load(opened, allow_pickle=False), channels)
    is_tiff = start.startswith(TIFF)
    if channels == 1 or not is_tiff:  # Pillow reads many bands of 16 bits as 8 bits, or not at all.
        try:
            return channels_last(pillow_array(open_upright(file, shorter_side), channels), channels)
        except UnidentifiedImageError:
            if not is_tiff:
                raise
            opened.seek(0)
    return channels_last(import_extra("tifffile", "bands").imread(opened), channels)


def pillow_array(image: Image.Image, channels: int) -> np.ndarray:
    if channels == 1 and (has_free_range(image) or image.mode.startswith("I")):
        return np.asarray(image) if has_free_range(image) else np.asarray(image).astype(np.uint16)
    if channels == 1:
        image = to_rgb(image) if image.mode != "L" else image
    return np.asarray(image.convert(PILLOW_MODES[channels]) if channels in PILLOW_MODES else image)


def channels_last(array: np.ndarray, channels: int) -> np.ndarray:
    """Return `[H, W, C]` of `[H, W, C]`, `[C, H, W]` or `[H, W]`; the last axis where both fit."""
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3) or not array.size:
        raise ValueError(f"it is an array of type {array.dtype} and shape {list(array.shape)}")
    if array.ndim == 2:
        array = array[..., None]
    elif array.shape[0] == channels != array.shape[-1]:
        array = np.moveaxis(array, 0, -1)
    if array.shape[-1] != channels:
        bands = min(array.shape[0], array.shape[-1])
        raise ValueError(f"it has {bands} band{'s' * (bands != 1)}, data.channels={channels} is expected")
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def scale(values: np.ndarray, value_range: ValueRange | None, white_becomes: float = 1.0) -> np.ndarray:
    """Return the values scaled from their range to 0 and `white_becomes`; ValueError for values outside."""
    is_8_bit = values.dtype == np.uint8
    if is_8_bit or (value_range is None and values.dtype == np.uint16):
        value_range = (0.0, 255.0 if is_8_bit else 65535.0)
    if value_range is None:
        raise ValueError("its float or 32-bit values do not say what is white; see data.value_range")
    black, white = value_range
    low, high = (black, white) if is_8_bit else extremes(values)
    if low < black or high > white:
        raise ValueError(
            f"its values go from {low:g} to {high:g}, {black:g} to {white:g} is expected (data.value_range)"
        )
    values = values.astype(np.promote_types(values.dtype, np.float32))
    return (values - black) * (white_becomes / (white - black or 1.0))
