"""Which bands of an image people see, and how."""

from collections.abc import Sequence

from torch import Tensor

from graft.errors import UserError


def shown_bands(channels: int, bands: Sequence[int] | None) -> list[int]:
    """Return the bands to show, one or three; None: the first ones. Raises UserError for absent ones."""
    if bands is None:
        return [0, 1, 2] if channels >= 3 else [0]
    if len(bands) not in (1, 3) or not all(0 <= band < channels for band in bands):
        listed = ",".join(map(str, bands))
        raise UserError(f"bands=[{listed}]: write one or three of the images' bands, 0 to {channels - 1}.")
    return list(bands)


def stretched(images: Tensor) -> Tensor:
    """Return images `[..., C, H, W]` from 0, the least value of each, to 1, its largest.

    Bands can be dark: reflectances of 16 bits use a small part of their range.
    """
    images = images.float()
    low, high = images.amin((-3, -2, -1), keepdim=True), images.amax((-3, -2, -1), keepdim=True)
    return (images - low) / (high - low).clamp_min(1e-8)
