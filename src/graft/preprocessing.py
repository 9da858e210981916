"""How an image becomes a network's input at evaluation: the value that travels with the weights."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation preprocessing of one set of weights: resize, centre crop, scale to [0, 1], normalise.

    Sizes are in pixels, mean and standard deviation per channel in the range [0, 1].
    """

    resize: tuple[int, ...]  # (shorter side,) keeps the aspect ratio; (height, width) does not
    crop: tuple[int, int]  # height, width
    interpolation: str  # nearest, bilinear, bicubic, lanczos, ...: torchvision's InterpolationMode values
    antialias: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    # What is black and what is white in images whose type does not say it; None where there are none.
    value_range: tuple[float, float] | None = None
    fit: str = "crop"  # crop, pad or squash, see `graft.data.resizing.with_fit`

    @property
    def channels(self) -> int:
        return len(self.mean)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, as a checkpoint may hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
