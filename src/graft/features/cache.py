"""Frozen layers run once per image; the head reads their cached outputs.

`cache.dir` has one folder of features per recipe (network, weights, preprocessing, ...). The key of a row is
made of the image's bytes, so other seeds, every job of a sweep and a data set that has grown reuse the rows.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from graft.data.module import ImageDataModule
from graft.errors import UserError
from graft.features.dataset import FeatureDataset
from graft.features.extraction import MOST_AT_ONCE, extract_missing
from graft.features.recipe import recipe, recipe_digest
from graft.features.store import EXTENSION, FeatureStore
from graft.features.views import Views
from graft.models.backbones import Backbone
from graft.models.backbones.image_sizes import trial_output
from graft.models.classifier import Classifier
from graft.models.engines.choice import CONVERTED, EngineError, choose_engine, converted, with_version
from graft.models.engines.run import Run
from graft.models.folding import folded
from graft.models.freezing import Phase

log = logging.getLogger(__name__)

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
# With features.views=auto, of all training images together, and of each: augmented views of many images take
# time and do not raise the accuracy (measured in docs/results.md).
ENOUGH_VIEWS = 2000
MOST_VIEWS = 8


@dataclass(frozen=True)
class FeatureCache:
    """The settings `features`; see `FeatureSettings`."""

    cache: bool | str  # auto: where it is possible; true: UserError where it is not
    views: int | str  # of each training image; 0: no cache
    dtype: str
    engine: str  # auto, torch, openvino or onnxruntime
    # Begin and end of the error where features cannot be cached although they have to be.
    needed_by: str = "features.cache=true"
    way_out: str = "write features.cache=auto"

    def features(
        self,
        classifier: Classifier,
        data: ImageDataModule,
        trainer: L.Trainer,
        phase: Phase,
        splits: Sequence[str],
        mixes: bool,
    ) -> dict[str, FeatureDataset]:
        """Return the cached features of the splits, computing those that are missing; {} to use images.

        Features are cached where the whole backbone is frozen. `mixes`: whether images of a batch are mixed.
        Raises UserError where `cache=true` and such features cannot be cached.
        """
        backbone = classifier.backbone
        is_frozen = not any(parameter.requires_grad for parameter in backbone.parameters())
        if self.cache is False or self.views == 0 or not is_frozen:
            return {}
        if mixes:
            return self._use_images("regularisation.mixup and cutmix mix images")
        if trainer.precision not in PRECISIONS:
            choices = ", ".join(PRECISIONS)
            return self._use_images(f"trainer.precision={trainer.precision} is none of {choices}")
        limits = (trainer.limit_train_batches, trainer.limit_val_batches)
        if any(isinstance(limit, int) or limit < 1 for limit in limits):  # 1 is one batch, 1.0 are all.
            return self._use_images("only a part of the batches is asked for")
        count = number_of_views(self.views, data, phase)
        views = {split: Views(data, split, count if split == "train" else 1) for split in splits}
        width = trial_output(backbone.eval(), data.preprocessing.crop, 1, backbone.channels).shape[1]
        size = sum(map(len, views.values())) * width * np.dtype(self.dtype).itemsize / 1e9
        if size > data.cache_room.limit_gb:
            reason = f"they would take {size:.2g} GB, and cache.limit_gb={data.cache_room.limit_gb}"
            return self._use_images(reason, "raise it, or ")
        if self.views == "auto" and data.augmentation.varies:
            several = f"{count} views of each training image, all but one augmented"
            one = "1 view of each training image, not augmented"
            log.info("features   %s (features.views)", several if count > 1 else one)
        store: FeatureStore | None = None
        failure = "another process cannot use the folder"
        try:
            store = self._filled_store(backbone, width, data, trainer, views)
        except OSError as error:
            place = error.filename or data.cache_room.features
            failure = f"{place} cannot be used ({error.strerror or error})"
        remedy = "make room there, choose another folder with cache.dir=DIR, or "
        if trainer.world_size > 1 and not torch.distributed.is_initialized():
            # The first fit connects the processes. Before it, this one cannot tell the others that it failed.
            # They would read features while it reads images, so it ends the run. All else that decides is the
            # same in every process: settings, images and weights.
            if store is None:
                raise UserError(
                    f"several processes cannot share cached features: {failure}; {remedy}write "
                    "features.cache=false."
                )
            is_everywhere = True
        else:
            is_everywhere = trainer.strategy.reduce_boolean_decision(store is not None)
        if store is None or not is_everywhere:
            return self._use_images(failure, remedy)
        return {split: FeatureDataset(store, split_views) for split, split_views in views.items()}

    def _filled_store(
        self,
        backbone: Backbone,
        width: int,
        data: ImageDataModule,
        trainer: L.Trainer,
        views: dict[str, Views],
    ) -> FeatureStore:
        """Return the store of these views, filled by the engine of the settings, or by PyTorch in its place.

        Raises OSError where the folder cannot be used, UserError where the engine that is asked for fails.
        """
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        backbone.to(device).eval()
        made_by = recipe(backbone, data.preprocessing, self.dtype, precision, device)

        def recipe_with(engine: str) -> dict[str, Any]:
            return made_by | {"engine": with_version(engine)}

        def folder_of(engine: str) -> Path:
            return data.cache_room.features / recipe_digest(recipe_with(engine))

        engine, why = "torch", "the others compute in 32 bits on the CPU"
        if (device.type, precision) == ("cpu", "32-true"):
            number = sum(map(len, views.values()))
            engine, why = choose_engine(self.engine, number, lambda name: has_rows(folder_of(name)))
        elif self.engine in CONVERTED:
            raise UserError(
                f"features.engine={self.engine} computes in 32 bits on the CPU, not with trainer.precision="
                f"{precision} on {device.type}; write features.engine=auto."
            )
        try:
            with data.cache_room.filling(folder_of(engine), recipe_with(engine)) as use:
                for part in folder_of(engine).glob(f".*{EXTENSION}.*.part"):
                    part.unlink()  # Whoever wrote it was killed: a live writer holds the lock of the folder.
                store = FeatureStore(folder_of(engine), width, self.dtype, use)
                fill(store, views, backbone, data, trainer, engine, why)
            return store
        except EngineError as error:
            if self.engine != "auto":
                raise UserError(f"features.engine={engine}: {error}; write features.engine=auto.") from error
            log.info("features   engine %s is not used: %s", engine, error)
            return replace(self, engine="torch")._filled_store(backbone, width, data, trainer, views)

    def _use_images(self, reason: str, advice: str = "") -> dict[str, FeatureDataset]:
        if self.cache is True:
            raise UserError(f"{self.needed_by}, but {reason}; {advice}{self.way_out}.")
        log.info("features   are not cached: %s", reason)
        return {}


def fill(
    store: FeatureStore,
    views: dict[str, Views],
    backbone: Backbone,
    data: ImageDataModule,
    trainer: L.Trainer,
    engine: str,
    why: str,
) -> None:
    """Store the features of all views that are missing. Raises EngineError where the engine fails."""
    device = trainer.strategy.root_device
    at_once = min(MOST_AT_ONCE, torch.get_num_threads()) if device.type == "cpu" else 1
    every: ConcatDataset[Tensor] = ConcatDataset(views.values())
    keys = np.concatenate([split_views.keys for split_views in views.values()])
    run: Run = backbone
    if store.misses(keys):
        log.info("features   engine %s: %s", engine, why)
        for split_views in views.values():
            if store.misses(split_views.augmented_keys):
                split_views.keep_decoded(data)
        images = noise((len(data.preprocessing.mean), *data.preprocessing.crop))
        if engine == "torch":
            run = folded(backbone, images.to(device))
        else:
            real = [every[index] for index in (0, len(every) // 2, len(every) - 1)]
            run = converted(engine, backbone, torch.cat([images, torch.stack(real)]), at_once)

    @torch.inference_mode()
    def extract(images: Tensor) -> Tensor:
        with trainer.precision_plugin.forward_context():
            features: Tensor = run(images.to(device, memory_format=torch.channels_last))
        return features.float()

    extract_missing(store, keys, every, extract, data.batch_size, data.num_workers, at_once)


def has_rows(folder: Path) -> bool:
    return any(folder.glob(f"*{EXTENSION}"))


def noise(shape: tuple[int, ...]) -> Tensor:
    """Return two images `[2, C, H, W]` of noise, the same every time, without the global generator."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *shape, generator=generator).contiguous(memory_format=torch.channels_last)


def number_of_views(setting: int | str, data: ImageDataModule, phase: Phase) -> int:
    """Return how many views of each training image are cached; with `auto`, more of fewer images."""
    if isinstance(setting, int):
        return setting
    if not data.augmentation.varies:
        return 1
    enough = round(ENOUGH_VIEWS / len(data.images.samples["train"]))
    return min(max(enough, 1), MOST_VIEWS, phase.epochs)
