"""Opens a picture file of any pixel format as 8-bit RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Documents, films and scientific grids that Pillow can open but nobody means as a photograph.
NOT_PICTURES = {".eps", ".ps", ".pdf", ".mpg", ".mpeg", ".grib", ".h5", ".hdf", ".fits", ".fit", ".bufr"}
NOT_PICTURES |= {".emf", ".wmf", ".cur", ".ani", ".fli", ".flc", ".iim", ".palm", ".blp"}


def picture_endings() -> frozenset[str]:
    """Return the lower-case file endings of the picture formats that this Pillow can open."""
    Image.init()
    can_open = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    return frozenset(can_open - NOT_PICTURES)


def open_rgb(path: Path) -> Image.Image:
    """Return the picture's first frame as 8-bit RGB, upright, transparency on white.

    Raises OSError or another error of Pillow's where the file cannot be decoded.
    """
    with Image.open(path) as picture:
        picture.load()
        return to_rgb(ImageOps.exif_transpose(picture))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit RGB.

    16-bit grey (0 to 65535) is scaled, not clipped. Integer and float pictures whose values lie
    outside that range, or float ones within [0, 1], are scaled by their own range.
    """
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith(("I", "F")):
        return scaled_to_8_bit(picture).convert("RGB")
    if picture.has_transparency_data:
        # Dropping alpha would show whatever colour lies under fully transparent pixels.
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


def scaled_to_8_bit(picture: Image.Image) -> Image.Image:
    """Return a grey picture of more than 8 bits in mode L."""
    values = np.asarray(picture).astype(np.float64)
    low, high = 0.0, 65535.0
    is_unit_range = picture.mode == "F" and values.size > 0 and values.max() <= 1.0 and values.min() >= 0.0
    if is_unit_range:
        high = 1.0
    elif values.size > 0 and (values.min() < low or values.max() > high):
        low, high = float(values.min()), float(values.max())
    scaled = np.rint((values - low) / max(high - low, 1e-12) * 255.0)
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8), mode="L")
