"""How a image becomes a network's input at evaluation: the value that travels with the weights."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation preprocessing of one set of weights: resize, centre crop, scale to [0, 1], normalise.

    Sizes are in pixels, mean and standard deviation per RGB channel in the range [0, 1].
    """

    resize: tuple[int, ...]  # (shorter side,) keeps the aspect ratio; (height, width) does not
    crop: tuple[int, int]  # height, width
    interpolation: str  # nearest, bilinear, bicubic, lanczos, ...: torchvision's InterpolationMode values
    antialias: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    # Of a data set of float or 32-bit images, what is black and what is white; None for all others.
    value_range: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, as a checkpoint may hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Return the value that `to_dict` wrote."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
