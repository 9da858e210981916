"""How an image comes to the network's shape: resized and cropped, padded, or squashed."""

from dataclasses import replace

import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from graft.data.images import AnyImage
from graft.preprocessing import Preprocessing

# timm's word for drawing one of two at random; evaluation takes the sharper.
INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode} | {"random": InterpolationMode.BICUBIC}
OF_TENSORS = {InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.NEAREST_EXACT}
MOST_ASPECT = 16  # of an image that is resized whole


def resize_and_crop(preprocessing: Preprocessing) -> list[torch.nn.Module]:
    crop = Pad(preprocessing) if preprocessing.fit == "pad" else v2.CenterCrop(list(preprocessing.crop))
    steps = [resizing(preprocessing, preprocessing.resize), crop]
    # A resized strip of 60,000 x 1 pixels would take gigabytes.
    return [CropStrips(), *steps] if len(preprocessing.resize) == 1 else steps


class CropStrips(torch.nn.Module):
    """Crops an image that is more than 16 times as long as wide to its middle, for a later centre crop."""

    def forward(self, image: AnyImage) -> AnyImage:
        height, width = functional.get_size(image)
        longest = MOST_ASPECT * min(height, width)
        top, left = (max(0, side - longest) // 2 for side in (height, width))
        if not left and not top:
            return image
        return functional.crop(image, top, left, height - 2 * top, width - 2 * left)


class FitInside(v2.Resize):
    """Resizes an image in proportion to the largest size that fits into (height, width)."""

    def forward(self, image: AnyImage) -> AnyImage:
        sides = functional.get_size(image)
        ratio = min(side / own for side, own in zip(self.size, sides, strict=True))
        size = [max(1, round(ratio * own)) for own in sides]
        return functional.resize(image, size, self.interpolation, antialias=self.antialias)


class FitWhole(torch.nn.Module):
    """Pads or squashes a whole image to (height, width), or to a smaller size in proportion.

    No image is enlarged beyond its longer side: that takes time, and shows a random crop nothing more.
    """

    def __init__(self, preprocessing: Preprocessing, size: tuple[int, int]) -> None:
        super().__init__()
        self.preprocessing, self.size = preprocessing, size

    def forward(self, image: AnyImage) -> AnyImage:
        ratio = min(1, max(functional.get_size(image)) / max(self.size))
        height, width = (max(1, round(ratio * side)) for side in self.size)
        steps = resize_and_crop(replace(self.preprocessing, resize=(height, width), crop=(height, width)))
        return v2.Compose(steps)(image)


class Pad(torch.nn.Module):
    """Pads an image on all sides to the crop, with the mean colour."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.size, self.mean = preprocessing.crop, list(preprocessing.mean)

    def forward(self, image: AnyImage) -> AnyImage:
        height, width = functional.get_size(image)
        rows, columns = self.size[0] - height, self.size[1] - width
        padding = [columns // 2, rows // 2, columns - columns // 2, rows - rows // 2]
        is_8_bit = len(self.mean) == 3
        fill = [round(255 * value) if is_8_bit else value for value in self.mean]
        return functional.pad(image, padding, fill=fill)


def resizing(preprocessing: Preprocessing, size: tuple[int, ...]) -> v2.Resize:
    """Return the weights' own way to resize, to (shorter side,) or (height, width) in pixels."""
    kind = FitInside if preprocessing.fit == "pad" and len(size) == 2 else v2.Resize
    return kind(list(size), interpolation=interpolation(preprocessing), antialias=preprocessing.antialias)


def interpolation(preprocessing: Preprocessing) -> InterpolationMode:
    mode = INTERPOLATIONS[preprocessing.interpolation]
    # torchvision has no Lanczos and other filters of Pillow's for tensors.
    return mode if preprocessing.channels == 3 or mode in OF_TENSORS else InterpolationMode.BICUBIC


def with_image_size(preprocessing: Preprocessing, size: int) -> Preprocessing:
    ratios = [r / c for r, c in zip(preprocessing.resize, preprocessing.crop, strict=False)]
    resize = tuple(round(size * ratio) for ratio in ratios)
    return replace(preprocessing, resize=resize, crop=(size, size))


def with_fit(preprocessing: Preprocessing, fit: str) -> Preprocessing:
    """Return the preprocessing for `fit`.

    crop: the middle of the image; pad: the whole image in its own aspect, with a rim of the mean colour;
    squash: the whole image, distorted.
    """
    if fit == preprocessing.fit:
        return preprocessing
    resize = (max(preprocessing.crop),) if fit == "crop" else preprocessing.crop
    return replace(preprocessing, fit=fit, resize=resize)
