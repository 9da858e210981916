"""Images and their predictions as TensorBoard shows them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graft.data.bands import stretched
from graft.preprocessing import Preprocessing
from graft.reporting.figures.plots import shortened
from graft.tasks import Target
from graft.tasks.prediction_table import joined
from graft.tasks.task import Task


def chosen(size: int, count: int, seed: int) -> list[int]:
    """Return `count` different indices below `size`, drawn with the seed, or all of fewer; in order."""
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]
    return sorted(drawn.tolist())


def denormalised(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the images `[..., C, H, W]` that were normalised, 0 to 1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (images * std + mean).clamp(0, 1)


def as_rgb(images: Tensor, bands: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Return images `[..., C, H, W]`, uint8 or 0 to 1, as RGB from 0 to 1.

    One or two channels are shown as the grey of the first. Of more than three, `bands` are shown, from
    their least to their largest value.
    """
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    channels = scaled.shape[-3]
    if channels <= 3:
        return scaled if channels == 3 else scaled[..., [0, 0, 0], :, :]
    return stretched(scaled[..., list(bands), :, :])


def title(task: Task, target: Target, values: Sequence[float]) -> str:
    """Return an image's target and prediction in two lines; `values` are those of `Task.predict`."""
    label, predicted = (text or "none" for text in (joined(task, target), task.answer(values)))
    share = f" {max(values):.0%}" if task.has_classes else ""
    return f"true {shortened(label, 15)}\npred. {shortened(predicted, 14 - len(share))}{share}"
