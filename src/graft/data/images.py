"""Opens a image file of any pixel format as 8-bit RGB."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from graft.errors import UserError

# Documents, films and scientific grids that Pillow can open but nobody means as a photograph.
NOT_IMAGES = {".eps", ".ps", ".pdf", ".mpg", ".mpeg", ".grib", ".h5", ".hdf", ".fits", ".fit", ".bufr"}
NOT_IMAGES |= {".emf", ".wmf", ".cur", ".ani", ".fli", ".flc", ".iim", ".palm", ".blp"}


def image_endings() -> frozenset[str]:
    """Return the lower-case file endings of the image formats that this Pillow can open."""
    Image.init()
    can_open = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    return frozenset(can_open - NOT_IMAGES)


# The smallest and the largest value of images that are not 8-bit: black and white.
ValueRange = tuple[float, float]
USUAL_LIMITS = (1.0, 255.0, 65535.0)


def open_rgb(
    file: Path | str | BinaryIO,
    shorter_side: int | None = None,
    value_range: ValueRange | None = None,
    to_look_at: bool = False,
) -> Image.Image:
    """Return the image's first frame as 8-bit RGB, upright, transparency on white.

    With `shorter_side`, in pixels, a JPEG may come at a half, a quarter or an eighth of its size, as long as
    its shorter side has that many. `value_range` is needed for float and 32-bit images, see `to_rgb`, unless
    the image is only to be looked at: then its own values are. Raises OSError, ValueError or another error of
    Pillow's where the file cannot be decoded.
    """
    with Image.open(file) as image:
        if shorter_side is not None and image.format in ("JPEG", "MPO"):
            # Decodes fewer coefficients. A square, so that it does not matter which way the image lies.
            image.draft(None, (shorter_side, shorter_side))
        image.load()
        if to_look_at and has_free_range(image):
            value_range = extremes(image)
        upright = ImageOps.exif_transpose(image)
        upright.format = image.format  # `has_free_range` asks for it.
        return to_rgb(upright, value_range)


def reopen_rgb(file: str, shorter_side: int, value_range: ValueRange | None = None) -> Image.Image:
    """Return an image that could be decoded when the run began; UserError where it cannot be now."""
    try:
        return open_rgb(file, shorter_side, value_range)
    except Exception as error:
        # Pillow's decoders raise many types. Another image in its place would be another data set.
        raise UserError(f"{file} cannot be read any more ({error}).") from error


def has_free_range(image: Image.Image) -> bool:
    """Return whether the image's numbers do not say what is white: float and 32-bit integers do not.

    16-bit PNG and PGM come in Pillow's 32-bit mode, too, but end at 65535.
    """
    return image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM"))


def extremes(image: Image.Image) -> ValueRange:
    """Return the smallest and the largest value of a grey image; ValueError where one is not finite."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    return float(values.min()), float(values.max())


def usual_range(low: float, high: float) -> ValueRange:
    """Return the range of a data set whose values go from `low` to `high`.

    From 0 to the smallest of 1, 255 and 65535 that holds all of them, else what was measured.
    """
    limits = [limit for limit in USUAL_LIMITS if low >= 0 and high <= limit]
    return (0.0, limits[0]) if limits else (low, high)


def to_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Return an image of any mode as 8-bit RGB.

    16-bit grey (0 to 65535) is scaled, not clipped. Float and 32-bit grey is scaled from `value_range`, which
    belongs to the data set: a guess from the image would make the same grey differ between images. Raises
    ValueError without one, and for values outside.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if has_free_range(image):
        if value_range is None:
            raise ValueError(
                "its float or 32-bit values do not say what is white (data.value_range), and no such images "
                "were trained on"
            )
        return scaled_to_8_bit(image, value_range).convert("RGB")
    if image.mode.startswith("I"):
        return scaled_to_8_bit(image, (0.0, 65535.0)).convert("RGB")
    if image.has_transparency_data:
        # Dropping alpha would show whatever colour lies under fully transparent pixels.
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def scaled_to_8_bit(image: Image.Image, value_range: ValueRange) -> Image.Image:
    """Return a grey image of more than 8 bits in mode L."""
    low, high = extremes(image)
    black, white = value_range
    if low < black or high > white:
        raise ValueError(
            f"its values go from {low:g} to {high:g}, {black:g} to {white:g} is expected (data.value_range)"
        )
    values = (np.asarray(image).astype(np.float64) - black) * (255.0 / (white - black or 1.0))
    return Image.fromarray(np.rint(values).astype(np.uint8), mode="L")
