"""The LightningDataModule: loaders of batches of labelled images, or of their cached features."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from graft.data.cache_folders import Cache, home_expanded
from graft.data.dataset import EpochSampler, EvaluationBatches, ImageDataset, Key, TrainingBatches
from graft.data.decoded import DecodedImages, ImagesInMemory, ImagesOnDisk, Shrinking, decoding_side
from graft.data.labelled_images import LabelledImages
from graft.data.threads import usable_cpus
from graft.data.transforms import Augmentation, evaluation_transform, training_transform
from graft.preprocessing import Preprocessing

FEW_IMAGES = 64  # Starting workers takes longer than decoding so few.
MOST_WORKERS = 8

Batch = tuple[Tensor, Tensor]
Loader = DataLoader[Batch]


class ImageDataModule(L.LightningDataModule):
    """Batches `([B, C, H, W], targets)` of labelled images, prepared as the network's weights need them.

    `cache` is none, ram or disk: where decoded images are cached.
    """

    def __init__(
        self,
        images: LabelledImages,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        batch_size: int,
        num_workers: int | str,
        seed: int,
        balanced: bool,
        cache: str,
        cache_dir: str,
        cache_limit_gb: float,
    ) -> None:
        super().__init__()
        self.images = images
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.batch_size = batch_size
        count = len(images.samples["train"])
        self.num_workers = resolve_workers(count) if num_workers == "auto" else int(num_workers)
        self.seed = seed
        self.balanced = balanced
        self.cache = cache
        self.cache_room = Cache(home_expanded(cache_dir), cache_limit_gb)
        self.decoded: dict[str, DecodedImages] = {}  # of the splits that loaders have read
        self.first_epoch = 0  # of a resumed run, the one it continues with
        # Cached features of the splits; the loaders give these instead of images.
        self.features: Mapping[str, Dataset[Batch]] = {}

    def dataset(self, split: str, augmented: bool, decoded: DecodedImages | None = None) -> ImageDataset:
        """Return the images of a split, from their files or `decoded`, for training or for evaluation."""
        augmentation = self.augmentation if augmented else None
        transform = (
            training_transform(self.preprocessing, augmentation)
            if augmentation
            else evaluation_transform(self.preprocessing)
        )
        return ImageDataset(
            self.images.root,
            self.images.samples[split],
            self.images.task,
            transform,
            decoding_side(self.preprocessing, augmentation),
            self.preprocessing,
            decoded,
        )

    def decode(self, split: str) -> DecodedImages | None:
        """Return the split's decoded images, made at the first call; None where none are cached."""
        is_read_once = split == "test" and self.cache == "ram"
        if self.cache == "none" or is_read_once:
            return None
        if split not in self.decoded:
            shrink = Shrinking(self.preprocessing, self.augmentation if split == "train" else None)
            root, samples = self.images.root, self.images.samples[split]
            self.decoded[split] = (
                ImagesInMemory(root, samples, shrink)
                if self.cache == "ram"
                else ImagesOnDisk(root, samples, shrink, self.cache_room)
            )
        return self.decoded[split]

    def train_dataloader(self) -> Loader:
        size = len(self.images.samples["train"])
        sampler = EpochSampler(size, self.seed, *self._process(), self._shares())
        if self.trainer is not None:
            # Lightning makes a fit's first iterator before it restores and announces the epoch.
            sampler.set_epoch(max(self.trainer.current_epoch, self.first_epoch))
        return self._loader("train", TrainingBatches(sampler, self.batch_size))

    def val_dataloader(self) -> Loader:
        return self._loader("val", self._evaluation_batches("val"))

    def test_dataloader(self) -> Loader:
        return self._loader("test", self._evaluation_batches("test"))

    def _evaluation_batches(self, split: str) -> EvaluationBatches:
        return EvaluationBatches(len(self.images.samples[split]), self.batch_size, *self._process())

    def _loader(self, split: str, batches: Sampler[list[Key]]) -> Loader:
        generator = torch.Generator()  # A loader without its own draws from the global one.
        if split in self.features:
            # Rows come as whole batches; there is nothing that a worker could do meanwhile.
            features = self.features[split]
            return DataLoader(features, batch_sampler=batches, collate_fn=whole_batch, generator=generator)
        return DataLoader(
            self.dataset(split, augmented=split == "train", decoded=self.decode(split)),
            batch_sampler=batches,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0 and split != "test",
            pin_memory=torch.cuda.is_available(),
            generator=generator,
        )

    def _shares(self) -> list[float] | None:
        """Return how often each training image is drawn, relative to the others; None where each is once."""
        samples = self.images.samples["train"]
        if not self.balanced and all(sample.weight == 1 for sample in samples):
            return None
        counts = Counter(sample.stratum for sample in samples) if self.balanced else Counter()
        return [sample.weight / max(1, counts[sample.stratum]) for sample in samples]

    def _process(self) -> tuple[int, int]:
        """Return the rank of this process and the number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def whole_batch(batch: Any) -> Any:
    return batch


def resolve_workers(images: int) -> int:
    return 0 if images < FEW_IMAGES else min(MOST_WORKERS, max(1, usable_cpus() - 1))
