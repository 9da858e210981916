"""The mean and the standard deviation of channels that pretrained weights know nothing of."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from graft.data.images import ValueRange, reread_image
from graft.data.sample import Sample
from graft.data.threads import in_threads
from graft.files import replacing

Numbers = tuple[float, ...]


def channel_statistics(
    root: Path, samples: Sequence[Sample], channels: int, value_range: ValueRange | None, cache: Path
) -> tuple[Numbers, Numbers]:
    """Return the mean and the standard deviation of each channel over all pixels of the images, from 0 to 1.

    They are computed once, and cached by the digests of the images. A constant channel has the deviation 1.
    """
    recipe = json.dumps([channels, value_range, sorted(sample.digest for sample in samples)])
    file = cache / "channels" / f"{hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()}.json"
    with suppress(OSError, ValueError):  # It is computed for the first time, or the file is damaged.
        mean, std = json.loads(file.read_text(encoding="utf-8"))
        return tuple(mean), tuple(std)
    sums = torch.zeros(3, channels, dtype=torch.float64)
    read = partial(moments, channels=channels, value_range=value_range)
    for of_image in in_threads(read, [f"{root}/{s.path}" for s in samples], "measuring channels"):
        sums += of_image
    means = sums[1] / sums[0]
    deviations = (sums[2] / sums[0] - means**2).clamp(min=0).sqrt()
    result = means.tolist(), torch.where(deviations > 1e-7, deviations, 1.0).tolist()
    with suppress(OSError):  # A cache folder that cannot be written only costs time.
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as opened:
            opened.write(json.dumps(result).encode())
    return tuple(result[0]), tuple(result[1])


def moments(path: str, channels: int, value_range: ValueRange | None) -> Tensor:
    """Return the number of pixels, their sum and the sum of their squares, `[3, C]`."""
    image = reread_image(path, channels, None, value_range)
    pixels = image if isinstance(image, Tensor) else pil_to_tensor(image) / 255
    values = pixels.double().flatten(1)
    return torch.stack(
        [torch.full_like(values[:, 0], values.shape[1]), values.sum(1), values.square().sum(1)]
    )
