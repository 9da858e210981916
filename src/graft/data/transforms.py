"""From a image to the network's input: exact for evaluation, varied for training."""

import math
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torchvision.transforms import ConvertImageDtype, InterpolationMode, v2

from graft.errors import UserError
from graft.preprocessing import Preprocessing

# timm's word for drawing one of two at random; evaluation takes the sharper.
INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode} | {"random": InterpolationMode.BICUBIC}

# Decoders shrink with a box filter, whose blur shows where little is left to resize. With twice the pixels it
# falls on detail that the resize removes anyway.
DECODING_MARGIN = 2

# A kept image's shorter side, of the crop's: what evaluation resizes to for most weights, at least.
KEPT_MARGIN = 1.15

MOST_ASPECT = 16  # of a image that is resized whole


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; the defaults vary nothing."""

    min_scale: float = 1.0  # smallest share of the area that a random crop takes; 1: the centre crop
    max_aspect: float = 4 / 3  # largest ratio by which a random crop changes the aspect
    horizontal_flip: float = 0.0  # probability
    vertical_flip: float = 0.0  # probability
    colour_jitter: float = 0.0  # largest relative change of brightness, contrast and saturation
    trivial_augment: bool = False  # one random operation (Müller & Hutter 2021, TrivialAugment)

    def __post_init__(self) -> None:
        for key in ("min_scale", "horizontal_flip", "vertical_flip", "colour_jitter"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"augmentation.{key}={getattr(self, key)}: it is between 0 and 1.")
        if self.min_scale == 0 or self.max_aspect < 1:
            raise UserError("augmentation.min_scale is above 0, augmentation.max_aspect at least 1.")

    @property
    def varies(self) -> bool:
        """Whether two views of a image can differ."""
        return self != Augmentation(max_aspect=self.max_aspect)  # It is of no use without random crops.


def evaluation_transform(preprocessing: Preprocessing) -> v2.Compose:
    """Return the transform of an RGB image to `[3, H, W]`, as the weights' own preprocessing does it."""
    return v2.Compose([*resize_and_crop(preprocessing), *to_input(preprocessing)])


def evaluation_crop(preprocessing: Preprocessing) -> v2.Compose:
    """Return the transform of an RGB image to uint8 `[3, H, W]`; `normalisation` does the rest."""
    return v2.Compose([*resize_and_crop(preprocessing), v2.PILToTensor()])


def normalisation(preprocessing: Preprocessing) -> torch.nn.Sequential:
    """Return the steps from uint8 images `[..., 3, H, W]` to the network's input."""
    return torch.nn.Sequential(*to_input(preprocessing)[1:])


def training_transform(preprocessing: Preprocessing, augmentation: Augmentation) -> v2.Compose:
    """Return the varied transform of an RGB image to `[3, H, W]`; all chance is torch's."""
    steps = resize_and_crop(preprocessing)
    if augmentation.min_scale < 1:
        steps = [
            v2.RandomResizedCrop(
                list(preprocessing.crop),
                scale=(augmentation.min_scale, 1.0),
                ratio=(1 / augmentation.max_aspect, augmentation.max_aspect),
                interpolation=INTERPOLATIONS[preprocessing.interpolation],
                antialias=preprocessing.antialias,
            )
        ]
    if augmentation.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip(augmentation.horizontal_flip))
    if augmentation.vertical_flip:
        steps.append(v2.RandomVerticalFlip(augmentation.vertical_flip))
    if augmentation.colour_jitter:
        strength = augmentation.colour_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    if augmentation.trivial_augment:
        steps.append(v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR))
    return v2.Compose([*steps, *to_input(preprocessing)])


def resize_and_crop(preprocessing: Preprocessing) -> list[torch.nn.Module]:
    """Return the steps to the evaluation crop, on the Pillow image."""
    steps: list[torch.nn.Module] = [
        resizing(preprocessing, preprocessing.resize),
        v2.CenterCrop(list(preprocessing.crop)),
    ]
    # A resized strip of 60,000 x 1 pixels would take gigabytes.
    return [CropStrips(), *steps] if len(preprocessing.resize) == 1 else steps


class CropStrips(torch.nn.Module):
    """Crops a image that is more than 16 times as long as wide to its middle; others stay as they are.

    Resizing its shorter side and cropping the centre would end in the same place.
    """

    def forward(self, image: Image.Image) -> Image.Image:
        """Return a image whose longer side is at most 16 times the shorter one."""
        longest = MOST_ASPECT * min(image.size)
        left, top = (max(0, side - longest) // 2 for side in image.size)
        if not left and not top:
            return image
        return image.crop((left, top, image.width - left, image.height - top))


def resizing(preprocessing: Preprocessing, size: tuple[int, ...]) -> v2.Resize:
    """Return the weights' own way to resize, to (shorter side,) or (height, width) in pixels."""
    mode = INTERPOLATIONS[preprocessing.interpolation]
    return v2.Resize(list(size), interpolation=mode, antialias=preprocessing.antialias)


def to_input(preprocessing: Preprocessing) -> list[torch.nn.Module]:
    """Return the steps from a cropped Pillow image to a normalised tensor."""
    return [
        v2.PILToTensor(),
        # Divides by 255 as the weights' authors did; v2's multiplies by 1/255, another last bit.
        ConvertImageDtype(torch.float32),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
    ]


def decoding_side(preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> int:
    """Return how many pixels the shorter side of a decoded image has to have for the transform.

    Without an augmentation it is what evaluation needs.
    """
    needed = float(max(preprocessing.resize))
    if augmentation is not None and augmentation.min_scale < 1:
        # The narrowest crop of the smallest area still has to have the pixels that it is resized to.
        needed = max(preprocessing.crop) * math.sqrt(augmentation.max_aspect / augmentation.min_scale)
    return math.ceil(DECODING_MARGIN * needed)


def kept_size(preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> tuple[int, ...]:
    """Return the size of a decoded image that is kept: (shorter side,) or (height, width), in pixels.

    Without random crops it is what the transform resizes to, so that resizing once more changes nothing.
    """
    if augmentation is None or augmentation.min_scale == 1:
        return preprocessing.resize
    return (max(*preprocessing.resize, math.ceil(KEPT_MARGIN * max(preprocessing.crop))),)


def with_image_size(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """Return the preprocessing for square crops of `size` pixels, resized in proportion."""
    ratios = [r / c for r, c in zip(preprocessing.resize, preprocessing.crop, strict=False)]
    resize = tuple(round(size * ratio) for ratio in ratios)
    return replace(preprocessing, resize=resize, crop=(size, size))


def apply(transform: v2.Compose, image: Image.Image, seed: int | None = None) -> torch.Tensor:
    """Return the transformed image; with a seed, torch's generator is used from there and put back."""
    if seed is None:
        tensor: torch.Tensor = transform(image)
        return tensor
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        seeded: torch.Tensor = transform(image)
        return seeded
