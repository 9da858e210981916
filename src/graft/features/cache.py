"""Lets what learns do so from what the frozen parts before it make of the images, which is stored.

Where only the head learns, that is the features of the whole backbone; where the last parts of the backbone
learn too, the activations at the boundary (`graft.features.boundary`), if storing them saves enough time
(`graft.features.estimate`).

The folder of all features has one folder a recipe (network, weights, preprocessing, ...), which holds rows
under keys made of the images' own bytes. So another run, seed or optimizer, every job of a sweep and a data
set that has grown find what is there.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from graft.data.module import ImageFolderDataModule
from graft.errors import UserError
from graft.features.boundary import Cut, find_cut, leading_parts, learns
from graft.features.dataset import FeatureDataset
from graft.features.estimate import estimate, operations_of
from graft.features.extraction import extract_missing
from graft.features.folding import folded
from graft.features.recipe import recipe, recipe_digest
from graft.features.store import FeatureStore
from graft.features.views import Views
from graft.models.backbones import stages
from graft.models.freezing import Phase
from graft.models.tail import Tail
from graft.training.module import TransferModule

log = logging.getLogger(__name__)

DTYPES = ("float32", "float16")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
ENOUGH_VIEWS = 4000  # Of all training images together, where their number is left to Graft ...
MOST_VIEWS = 8  # ... and of each.


@dataclass(frozen=True)
class FeatureCache:
    """The settings `features`: whether, how many views, in which numbers.

    Raises UserError for a value that is none of the choices.
    """

    cache: bool | str
    views: int | str
    dtype: str

    def __post_init__(self) -> None:
        if not isinstance(self.cache, bool) and self.cache != "auto":
            raise UserError(f"features.cache={self.cache}: write auto, true or false.")
        is_number = isinstance(self.views, int) and not isinstance(self.views, bool) and self.views >= 0
        if self.views != "auto" and not is_number:
            raise UserError(f"features.views={self.views}: write auto, or a number (0: no cache).")
        if self.dtype not in DTYPES:
            raise UserError(f"features.dtype={self.dtype}: write one of {', '.join(DTYPES)}.")

    def serves(self, module: TransferModule, trainer: L.Trainer) -> bool:
        """Return whether what the module's phase lets learn could do so from stored rows, and may.

        Raises UserError where `cache=true` asks for what cannot be.
        """
        if self.cache is False or self.views == 0 or not has_frozen_stage(module):
            return False
        backbone = module.classifier.backbone
        if module.mix is not None:
            return self._may_go_on("loss.mixup and loss.cutmix mix images")
        if trainer.precision not in PRECISIONS:
            return self._may_go_on(
                f"trainer.precision={trainer.precision} is none of {', '.join(PRECISIONS)}"
            )
        if {trainer.limit_train_batches, trainer.limit_val_batches} != {1.0}:
            return self._may_go_on("only a part of the batches is asked for")
        if learns(backbone) and not any(leading_parts(backbone)):
            return self._may_go_on("the network learns from its first part on")
        if learns(backbone) and backbone.auxiliary:
            return self._may_go_on(f"{backbone.name} has auxiliary classifiers, which learn from its middle")
        return True

    def features(
        self,
        module: TransferModule,
        data: ImageFolderDataModule,
        trainer: L.Trainer,
        phase: Phase,
        splits: Sequence[str],
    ) -> tuple[dict[str, FeatureDataset], Tail | None]:
        """Return the rows of the splits and what goes on from them; what is not stored yet is computed.

        Without rows and None where the network cannot be cut where learning begins, where they would take
        more room than the cache may, where its folder cannot be used, or where they save no time. Raises
        UserError where `cache=true` and one of the first three holds.
        """
        assert data.preprocessing is not None
        device = trainer.strategy.root_device
        backbone = module.classifier.backbone.to(device).eval()
        images = noise(data.preprocessing.crop).to(device)
        cut = find_cut(module.classifier, images)
        if cut is None:
            self._may_go_on(f"{backbone.name} cannot be cut where learning begins")
            return {}, None
        fast = cut.front

        @torch.inference_mode()
        def activations(images: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                found: Tensor = fast(images.to(device, memory_format=torch.channels_last))
            return found.float()

        views = self.views_of(data, phase, splits, learns(backbone))
        shape = activations(torch.zeros(1, 3, *data.preprocessing.crop)).shape[1:]
        if not self._are_worth_storing(
            cut, views, phase.epochs, shape.numel(), images, data.cache_room.limit_gb
        ):
            return {}, None
        if self.views == "auto" and data.augmentation.varies:
            count = views["train"].count
            log.info(
                "features   %d views of each training image, all but one augmented (features.views)", count
            )
        made_by = recipe(backbone, cut, data.preprocessing, self.dtype, str(trainer.precision), device)
        keys = np.concatenate([view.keys for view in views.values()])
        folder = data.cache_room.features / recipe_digest(made_by)
        failure = None
        try:
            with data.cache_room.filling(folder, made_by) as use:
                store = FeatureStore(folder, shape.numel(), self.dtype, use)
                every: ConcatDataset[Tensor] = ConcatDataset(views.values())
                if (store.locate(keys)[:, 0] < 0).any():
                    for of_split in views.values():
                        absent = store.locate(of_split.keys)[:, 0].reshape(-1, of_split.count) < 0
                        if absent[:, 1:].any():
                            of_split.keep_decoded(data)
                    fast = folded(cut.front, images)
                extract_missing(
                    store, keys, every, lambda p: activations(p).flatten(1), data.batch_size, data.num_workers
                )
        except OSError as error:
            failure = f"{error.filename or folder} cannot be used ({error.strerror or error})"
        if not trainer.strategy.reduce_boolean_decision(failure is None):  # All processes go the same way.
            self._may_go_on(
                failure or "another process cannot use the folder",
                "make room there, choose another folder with cache.dir=DIR, or write features.cache=auto",
            )
            return {}, None
        rows = {split: FeatureDataset(store, of_split) for split, of_split in views.items()}
        return rows, cut.tail(module.classifier, shape)

    def views_of(
        self, data: ImageFolderDataModule, phase: Phase, splits: Sequence[str], backbone_learns: bool
    ) -> dict[str, Views]:
        """Return the views of the splits: several of a training image, one of the others."""
        is_set = isinstance(self.views, int)
        count = self.views if is_set else default_views(data, phase, backbone_learns)
        return {split: Views(data, split, int(count) if split == "train" else 1) for split in splits}

    def _are_worth_storing(
        self, cut: Cut, views: dict[str, Views], epochs: int, width: int, images: Tensor, limit_gb: float
    ) -> bool:
        """Return whether the rows fit into the cache, and those of a cut network save time or have to be."""
        row = width * np.dtype(self.dtype).itemsize
        size = sum(map(len, views.values())) * row / 1e9
        if size > limit_gb:
            reason = f"they would take {size:.2g} GB, and cache.limit_gb={limit_gb}"
            return self._may_go_on(reason, "raise it, or write features.cache=auto")
        if cut.before is None:
            return True
        found = estimate(views, epochs, row, operations_of(cut.front, images[:1]), images.device)
        is_stored = found.pays or self.cache is True
        log.info(
            "features   up to %s are %sstored: %s",
            cut.before.removeprefix("network."),
            "" if is_stored else "not ",
            found,
        )
        return is_stored

    def _may_go_on(self, reason: str, advice: str = "write features.cache=auto") -> bool:
        """Say why images are used and return False; UserError where that was excluded."""
        if self.cache is True:
            raise UserError(f"features.cache=true, but {reason}; {advice}.")
        log.info("features   are not stored: %s", reason)
        return False


def has_frozen_stage(module: TransferModule) -> bool:
    """Return whether nothing learns of at least one stage of the backbone."""
    backbone = module.classifier.backbone
    learning = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    return any(learning.isdisjoint(stage.parameters) for stage in stages(backbone))


def noise(crop: tuple[int, int]) -> Tensor:
    """Return two images `[2, 3, H, W]` of noise, the same every time; the global generator stays."""
    chance = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *crop, generator=chance).contiguous(memory_format=torch.channels_last)


def default_views(data: ImageFolderDataModule, phase: Phase, backbone_learns: bool) -> int:
    """Return how many views of each training image are stored: the fewer images, the more.

    What learns within the backbone has enough parameters to need as much augmentation as there may be.
    """
    if not data.augmentation.varies:
        return 1
    enough = MOST_VIEWS if backbone_learns else round(ENOUGH_VIEWS / len(data.samples["train"]))
    return min(max(enough, 1), MOST_VIEWS, phase.epochs)
