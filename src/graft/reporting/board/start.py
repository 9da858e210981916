"""What TensorBoard shows from the start: the settings, and training images as the network sees them."""

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from graft.data.module import ImageFolderDataModule
from graft.preprocessing import Preprocessing

SHOWN = 16  # images of a grid


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """Return what writes for TensorBoard; None where the run does not, or another process does."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None


def show_start(trainer: L.Trainer, data: ImageFolderDataModule, config: DictConfig) -> None:
    """Write the settings and some training images, augmented as in the first epoch."""
    writer = writer_of(trainer)
    if writer is None:
        return
    from graft.reporting.figures.image_grid import (
        image_grid,  # Not before it is needed: matplotlib takes a while.
    )
    from graft.reporting.figures.names import shortened

    settings = OmegaConf.to_yaml(config, resolve=True)
    writer.add_text("settings", "\n".join(f"    {line}" for line in settings.splitlines()))
    images = data.images("train", augmented=True)
    places = chosen(len(images), SHOWN, data.seed)
    assert data.preprocessing is not None
    seen = torch.stack([images[place, data.seed + place][0] for place in places])
    titles = [shortened(data.class_names[images.labels[place]]) for place in places]
    grid = image_grid(denormalised(seen, data.preprocessing), titles, [False] * len(places))
    writer.add_figure("images/training, as the network sees them", grid)


def chosen(size: int, count: int, seed: int) -> list[int]:
    """Return `count` different places below `size`, drawn with the seed, or all of fewer; in order."""
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]
    return sorted(drawn.tolist())


def denormalised(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the images `[..., 3, H, W]` that were normalised, 0 to 1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (images * std + mean).clamp(0, 1)
