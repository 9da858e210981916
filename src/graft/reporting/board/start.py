"""What TensorBoard shows from the start: the settings, and training pictures as the network sees them."""

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from graft.data.module import ImageFolderDataModule
from graft.preprocessing import Preprocessing

SHOWN = 16  # pictures of a grid


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """Return what writes for TensorBoard; None where the run does not, or another process does."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None


def show_start(trainer: L.Trainer, data: ImageFolderDataModule, config: DictConfig) -> None:
    """Write the settings and some training pictures, augmented as in the first epoch."""
    writer = writer_of(trainer)
    if writer is None:
        return
    from graft.reporting.figures.names import shortened
    from graft.reporting.figures.picture_grid import (
        picture_grid,  # Not before it is needed: matplotlib takes a while.
    )

    settings = OmegaConf.to_yaml(config, resolve=True)
    writer.add_text("settings", "\n".join(f"    {line}" for line in settings.splitlines()))
    pictures = data.pictures("train", augmented=True)
    places = chosen(len(pictures), SHOWN, data.seed)
    assert data.preprocessing is not None
    seen = torch.stack([pictures[place, data.seed + place][0] for place in places])
    titles = [shortened(data.class_names[pictures.labels[place]]) for place in places]
    grid = picture_grid(denormalised(seen, data.preprocessing), titles, [False] * len(places))
    writer.add_figure("pictures/training, as the network sees them", grid)


def chosen(size: int, count: int, seed: int) -> list[int]:
    """Return `count` different places below `size`, drawn with the seed, or all of fewer; in order."""
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]
    return sorted(drawn.tolist())


def denormalised(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the pictures `[..., 3, H, W]` that were normalised, 0 to 1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (pictures * std + mean).clamp(0, 1)
