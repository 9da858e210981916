"""From an image to the network's input: exact for evaluation, varied for training.

An image is a Pillow image for RGB, and a float tensor `[C, H, W]` from 0 to 1 for other numbers of channels.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torchvision.transforms import ConvertImageDtype, InterpolationMode, v2

from graft.data.images import AnyImage
from graft.data.own_transforms import build_own
from graft.data.resizing import FitWhole, interpolation, resize_and_crop
from graft.errors import UserError
from graft.preprocessing import Preprocessing

CLAMP = v2.Lambda(partial(torch.clamp, min=0, max=1))  # Bicubic interpolation of floats overshoots.

MOST_MARGIN = 2.0  # of a whole image that random crops are taken from: larger ones take more time


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; the defaults vary nothing."""

    min_scale: float = 1.0  # smallest share of the area that a random crop takes; 1: the centre crop
    max_aspect: float = 4 / 3  # largest ratio by which a random crop changes the aspect
    horizontal_flip: float = 0.0  # probability
    vertical_flip: float = 0.0  # probability
    colour_jitter: float = 0.0  # largest relative change of brightness, contrast and saturation
    trivial_augment: bool = False  # one random operation (Müller & Hutter 2021, TrivialAugment)
    # By name, modules with `_target_` from float images `[C, H, W]`, 0 to 1, to such of the same shape.
    transforms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def varies(self) -> bool:
        """Whether two views of an image can differ."""
        return self != Augmentation(max_aspect=self.max_aspect)  # It is of no use without random crops.

    @property
    def crop_margin(self) -> float:
        """How many times the crop's side an image needs to have for the narrowest random crop to be sharp."""
        return math.sqrt(self.max_aspect / self.min_scale) if self.min_scale < 1 else 1.0


def augmentation_key(augmentation: Augmentation) -> str:
    """Return a text of all settings; an empty `transforms` changes nothing, so it is left out."""
    return json.dumps({k: value for k, value in asdict(augmentation).items() if k != "transforms" or value})


def evaluation_transform(preprocessing: Preprocessing) -> v2.Compose:
    """Return the transform of an image to `[C, H, W]`, as the weights' own preprocessing does it."""
    return v2.Compose([*resize_and_crop(preprocessing), *to_input(preprocessing)])


def evaluation_crop(preprocessing: Preprocessing) -> v2.Compose:
    """Return the transform of an image to the crop `[C, H, W]` before `normalisation`: uint8 for RGB."""
    return v2.Compose([*resize_and_crop(preprocessing), *to_input(preprocessing)[:1]])


def normalisation(preprocessing: Preprocessing) -> torch.nn.Sequential:
    return torch.nn.Sequential(*to_input(preprocessing)[1:])


def training_transform(preprocessing: Preprocessing, augmentation: Augmentation) -> v2.Compose:
    """Return the varied transform of an image to `[C, H, W]`; all chance is torch's.

    Raises UserError where the augmentation cannot be applied to images of this number of channels.
    """
    channels, crop = preprocessing.channels, preprocessing.crop
    for key in ("colour_jitter", "trivial_augment"):
        if channels != 3 and getattr(augmentation, key):
            raise UserError(f"augmentation.{key} needs RGB images (data.channels={channels}); turn it off.")
    steps = resize_and_crop(preprocessing)
    if augmentation.min_scale < 1:
        margin = min(augmentation.crop_margin, MOST_MARGIN)
        whole = round(margin * crop[0]), round(margin * crop[1])
        steps = [] if preprocessing.fit == "crop" else [FitWhole(preprocessing, whole)]
        random_crop = v2.RandomResizedCrop(
            list(crop),
            scale=(augmentation.min_scale, 1.0),
            ratio=(1 / augmentation.max_aspect, augmentation.max_aspect),
            interpolation=interpolation(preprocessing),
            antialias=preprocessing.antialias,
        )
        steps.append(random_crop)
    if augmentation.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip(augmentation.horizontal_flip))
    if augmentation.vertical_flip:
        steps.append(v2.RandomVerticalFlip(augmentation.vertical_flip))
    if strength := augmentation.colour_jitter:
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    if augmentation.trivial_augment:
        steps.append(v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR))
    *to_float, normalise = to_input(preprocessing)
    own = [build_own(*entry, preprocessing) for entry in augmentation.transforms.items() if entry[1]]
    return v2.Compose([*steps, *to_float, *own, normalise])


def to_input(preprocessing: Preprocessing) -> list[torch.nn.Module]:
    return [
        v2.PILToTensor() if preprocessing.channels == 3 else CLAMP,
        # Divides by 255 as the weights' authors did; v2's multiplies by 1/255, another last bit.
        ConvertImageDtype(torch.float32),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
    ]


def apply(transform: torch.nn.Module, image: AnyImage, seed: int | None = None) -> torch.Tensor:
    """Return the transformed image; with a seed, torch's generator is used from there and put back."""
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU, too.
        return transform(image)
