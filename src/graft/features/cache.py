"""Lets the head learn from stored features while the backbone is frozen, instead of from pictures.

The folder of all features has one folder a recipe (network, weights, preprocessing, ...), which holds rows
under keys made of the pictures' own bytes. So another run, seed or optimizer, every job of a sweep and a data
set that has grown find what is there.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn
from torch.utils.data import ConcatDataset

from graft.cache_folders import RECIPE, evict, lock_of
from graft.data import ImageFolderDataModule
from graft.errors import UserError
from graft.features.dataset import FeatureDataset
from graft.features.extraction import extract_missing
from graft.features.folding import folded
from graft.features.recipe import recipe, recipe_digest
from graft.features.store import FeatureStore
from graft.features.views import Views
from graft.finetuning import HEAD, Phase
from graft.module import TransferModule

log = logging.getLogger(__name__)

DTYPES = ("float32", "float16")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
ENOUGH_VIEWS = 4000  # Of all training pictures together, where their number is left to Graft ...
MOST_VIEWS = 8  # ... and of each.


@dataclass(frozen=True)
class FeatureCache:
    """The settings `features`: whether, how many views, where, in which numbers.

    Raises UserError for a value that is none of the choices.
    """

    cache: bool | str
    views: int | str
    dir: str
    dtype: str
    limit_gb: float

    def __post_init__(self) -> None:
        if self.cache not in (True, False, "auto"):
            raise UserError(f"features.cache={self.cache}: write auto, true or false.")
        is_number = isinstance(self.views, int) and not isinstance(self.views, bool) and self.views >= 0
        if self.views != "auto" and not is_number:
            raise UserError(f"features.views={self.views}: write auto, or a number (0: no cache).")
        if self.dtype not in DTYPES:
            raise UserError(f"features.dtype={self.dtype}: write one of {', '.join(DTYPES)}.")
        if self.limit_gb <= 0:
            raise UserError(f"features.limit_gb={self.limit_gb}: it is above 0.")

    def serves(self, phase: Phase, module: TransferModule, trainer: L.Trainer) -> bool:
        """Return whether the head can learn from features in this phase, and may.

        Raises UserError where `cache=true` asks for what cannot be.
        """
        if self.cache is False or self.views == 0:
            return False
        reason = ""
        if phase.learns != (HEAD,):
            return False
        if module.mix is not None:
            reason = "loss.mixup and loss.cutmix mix pictures"
        elif trainer.precision not in PRECISIONS:
            reason = f"trainer.precision={trainer.precision} is none of {', '.join(PRECISIONS)}"
        elif {trainer.limit_train_batches, trainer.limit_val_batches} != {1.0}:
            reason = "only a part of the batches is asked for"
        if reason and self.cache is True:
            raise UserError(f"features.cache=true, but {reason}; write features.cache=auto.")
        if reason:
            log.info("features   are not stored: %s", reason)
        return not reason

    def features(
        self,
        module: TransferModule,
        data: ImageFolderDataModule,
        trainer: L.Trainer,
        phase: Phase,
        splits: Sequence[str],
    ) -> dict[str, FeatureDataset]:
        """Return the features of the splits; the backbone runs over what is not stored yet.

        Empty where they would take more room than `limit_gb`. Raises UserError where `cache=true` and they
        would, or where the folder cannot be used.
        """
        assert data.preprocessing is not None
        device = trainer.strategy.root_device
        backbone = module.classifier.backbone.to(device).eval()
        made_by = recipe(backbone, data.preprocessing, self.dtype, str(trainer.precision), device)
        fast: nn.Module = backbone

        @torch.inference_mode()
        def extract(pictures: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                features: Tensor = fast(pictures.to(device, memory_format=torch.channels_last))
            return features.float()

        views = self.views_of(data, phase, splits)
        keys = np.concatenate([view.keys for view in views.values()])
        width = extract(torch.zeros(1, 3, *data.preprocessing.crop)).shape[1]
        size = len(keys) * width * np.dtype(self.dtype).itemsize / 1e9
        if size > self.limit_gb:
            reason = f"they would take {size:.1f} GB, and features.limit_gb={self.limit_gb}"
            if self.cache is True:
                raise UserError(f"features.cache=true, but {reason}; raise it, or write features.cache=auto.")
            log.info("features   are not stored: %s", reason)
            return {}
        folder = Path(self.dir).expanduser() / recipe_digest(made_by)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / RECIPE).write_text(json.dumps(made_by, indent=2) + "\n")
            store = FeatureStore(folder, width, self.dtype)
            evict(folder, round(self.limit_gb * 1e9))
            # Whoever comes second waits, and then finds all that the first has computed.
            with FileLock(lock_of(folder)):
                store.refresh()
                every: ConcatDataset[Tensor] = ConcatDataset(views.values())
                if (store.locate(keys)[:, 0] < 0).any():
                    for of_split in views.values():
                        of_split.keep_decoded()
                    fast = folded(backbone, noise(data.preprocessing.crop).to(device))
                extract_missing(store, keys, every, extract, data.batch_size, data.num_workers)
        except OSError as error:
            raise UserError(
                f"features.dir={self.dir} cannot be used ({error.strerror or error}); "
                "choose another, or write features.cache=false."
            ) from error
        return {split: FeatureDataset(store, of_split) for split, of_split in views.items()}

    def views_of(self, data: ImageFolderDataModule, phase: Phase, splits: Sequence[str]) -> dict[str, Views]:
        """Return the views of the splits: several of a training picture, one of the others."""
        count = self.views if isinstance(self.views, int) else default_views(data, phase)
        return {split: Views(data, split, count if split == "train" else 1) for split in splits}


def noise(crop: tuple[int, int]) -> Tensor:
    """Return two pictures `[2, 3, H, W]` of noise, the same every time; the global generator stays."""
    chance = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *crop, generator=chance).contiguous(memory_format=torch.channels_last)


def default_views(data: ImageFolderDataModule, phase: Phase) -> int:
    """Return how many views of each training picture are stored: the fewer pictures, the more."""
    if not data.augmentation.varies:
        return 1
    enough = round(ENOUGH_VIEWS / len(data.samples["train"]))
    views = min(max(enough, 1), MOST_VIEWS, phase.epochs)
    log.info("features   %d views of each training picture, all but one augmented (features.views)", views)
    return views
