"""Opens a picture file of any pixel format as 8-bit RGB."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from graft.errors import UserError

# Documents, films and scientific grids that Pillow can open but nobody means as a photograph.
NOT_PICTURES = {".eps", ".ps", ".pdf", ".mpg", ".mpeg", ".grib", ".h5", ".hdf", ".fits", ".fit", ".bufr"}
NOT_PICTURES |= {".emf", ".wmf", ".cur", ".ani", ".fli", ".flc", ".iim", ".palm", ".blp"}


def picture_endings() -> frozenset[str]:
    """Return the lower-case file endings of the picture formats that this Pillow can open."""
    Image.init()
    can_open = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    return frozenset(can_open - NOT_PICTURES)


def open_rgb(file: Path | str | BinaryIO, shorter_side: int | None = None) -> Image.Image:
    """Return the picture's first frame as 8-bit RGB, upright, transparency on white.

    With `shorter_side`, in pixels, a JPEG may come at a half, a quarter or an eighth of its size, as long as
    its shorter side has that many. Raises OSError, ValueError or another error of Pillow's where the file
    cannot be decoded.
    """
    with Image.open(file) as picture:
        if shorter_side is not None and picture.format in ("JPEG", "MPO"):
            # Decodes fewer coefficients. A square, so that it does not matter which way the picture lies.
            picture.draft(None, (shorter_side, shorter_side))
        picture.load()
        return to_rgb(ImageOps.exif_transpose(picture))


def reopen_rgb(file: str, shorter_side: int) -> Image.Image:
    """Return a picture that could be decoded when the run began; UserError where it cannot be now."""
    try:
        return open_rgb(file, shorter_side)
    except Exception as error:
        # Pillow's decoders raise many types. Another picture in its place would be another data set.
        raise UserError(f"{file} cannot be read any more ({error}).") from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit RGB.

    16-bit grey (0 to 65535) is scaled, not clipped; float grey is within [0, 1] or [0, 255]. Raises
    ValueError for other values: a guess would make the same grey differ between pictures.
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
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    low, high = float(values.min()), float(values.max())
    limits = (1.0, 255.0) if picture.mode == "F" else (65535.0,)
    if low < 0 or high > limits[-1]:
        kind = "float" if picture.mode == "F" else "integer"
        ranges = " or ".join(f"0 to {limit:g}" for limit in limits)
        raise ValueError(f"its {kind} values go from {low:g} to {high:g}, {ranges} is expected")
    scale = 255.0 / min(limit for limit in limits if high <= limit)
    return Image.fromarray(np.rint(values * scale).astype(np.uint8), mode="L")
