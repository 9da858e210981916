"""The LightningDataModule: a folder of images, its classes and splits, and loaders of batches."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from graft.data.cache_folders import Cache, home_expanded
from graft.data.checks import without_unreadable
from graft.data.dataset import EpochSampler, EvaluationBatches, ImageDataset, Key, TrainingBatches
from graft.data.decoded import CHOICES, ImagesInMemory, ImagesOnDisk, KeptImages, Shrinking
from graft.data.elpv import prepare_elpv
from graft.data.folder import scan_folder, with_metadata
from graft.data.images import ValueRange
from graft.data.splits import (
    SPLITS,
    check_splits,
    limit_splits,
    make_missing_splits,
    read_splits,
    write_splits,
)
from graft.data.threads import usable_cpus
from graft.data.transforms import (
    Augmentation,
    decoding_side,
    evaluation_transform,
    training_transform,
    with_image_size,
)
from graft.errors import UserError
from graft.preprocessing import Preprocessing

FEW_IMAGES = 64  # Starting workers takes longer than decoding so few.
MOST_WORKERS = 8

Batch = tuple[Tensor, Tensor]
Loader = DataLoader[Batch]


class ImageFolderDataModule(L.LightningDataModule):
    """Batches `([B, 3, H, W], [B])` of the images in `root/CLASS` or `root/{train,val,test}/CLASS`.

    Classes, splits and checks are ready after construction. Loaders need `use_preprocessing` first.
    Raises UserError where the folder or a setting does not fit.
    """

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        value_range: Sequence[float] | str = "auto",
        splits: str | None = None,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        stratify_by: str | None = None,
        keep_together: str | None = None,
        image_size: int | None = None,
        batch_size: int = 32,
        num_workers: int | str = "auto",
        on_error: str = "raise",
        limit: int | None = None,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        balanced: bool = False,
        cache: str = "none",
        cache_dir: str = "~/.cache/graft",
        cache_limit_gb: float = 20,
    ) -> None:
        super().__init__()
        check_settings(val_fraction, test_fraction, image_size, batch_size, on_error, cache)
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        self.balanced = balanced
        self.preprocessing: Preprocessing | None = None
        self.cache = cache
        self.cache_room = Cache(home_expanded(cache_dir), cache_limit_gb)
        self.kept: dict[str, KeptImages] = {}  # decoded images of the splits that loaders have read
        self.first_epoch = 0  # of a resumed run, the one it goes on with
        # What a network's frozen front makes of each split; the loaders give these instead of images.
        self.features: Mapping[str, Dataset[Batch]] = {}

        found = with_metadata(self.root, scan_folder(self.root, layout), stratify_by, keep_together)
        if splits is not None:
            found = read_splits(Path(splits).expanduser(), [replace(s, split=None) for s in found])
        stated = stated_range(value_range)
        found, self.value_range = without_unreadable(self.root, found, on_error, self.cache_room.dir, stated)
        if splits is None:
            fractions = {"val": val_fraction, "test": test_fraction}
            found = make_missing_splits(found, fractions, seed)
        if limit is not None:
            found = limit_splits(found, limit, seed)
        check_splits(found, f"data.root={root}" if splits is None else f"data.splits={splits}")
        self.samples = {split: [s for s in found if s.split == split] for split in SPLITS}
        self.class_names = sorted({sample.class_name for sample in self.samples["train"]})
        self.num_workers = resolve_workers(num_workers, len(self.samples["train"]))

    def class_counts(self, split: str) -> list[int]:
        """Return the number of images of each class in a split, in the order of `class_names`."""
        counts = Counter(sample.class_name for sample in self.samples[split])
        return [counts[name] for name in self.class_names]

    def use_preprocessing(self, preprocessing: Preprocessing) -> None:
        """Prepare images as the network's weights need it; `image_size` overrides their size."""
        if self.image_size is not None:
            preprocessing = with_image_size(preprocessing, self.image_size)
        self.preprocessing = replace(preprocessing, value_range=self.value_range)
        self.kept = {}

    def digest(self) -> str:
        """Return a hash of which image is in which class and split."""
        rows = [[s.path, s.class_name, split] for split in SPLITS for s in self.samples[split]]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def write_splits(self, file: Path) -> None:
        """Write which image is in which split; `data.splits=FILE` takes it back."""
        write_splits([sample for split in SPLITS for sample in self.samples[split]], file)

    def images(self, split: str, augmented: bool, kept: KeptImages | None = None) -> ImageDataset:
        """Return the images of a split, varied as for training or as the weights' authors see them.

        They come from their files, or from those that are kept decoded.
        """
        assert self.preprocessing is not None
        if augmented:
            transform = training_transform(self.preprocessing, self.augmentation)
        else:
            transform = evaluation_transform(self.preprocessing)
        shorter_side = decoding_side(self.preprocessing, self.augmentation if augmented else None)
        return ImageDataset(
            self.root,
            self.samples[split],
            self.class_names,
            transform,
            shorter_side,
            kept,
            self.preprocessing.value_range,
        )

    def keep_decoded(self, split: str) -> KeptImages | None:
        """Return the split's decoded images, made at the first call; None where none are kept."""
        assert self.preprocessing is not None
        is_read_once = split == "test" and self.cache == "ram"
        if self.cache == "none" or is_read_once:
            return None
        if split not in self.kept:
            shrink = Shrinking(self.preprocessing, self.augmentation if split == "train" else None)
            samples = self.samples[split]
            if self.cache == "ram":
                self.kept[split] = ImagesInMemory(self.root, samples, shrink)
            else:
                self.kept[split] = ImagesOnDisk(self.root, samples, shrink, self.cache_room)
        return self.kept[split]

    def train_dataloader(self) -> Loader:
        """Return augmented, shuffled batches of the training split."""
        shares = self._class_shares() if self.balanced else None
        sampler = EpochSampler(len(self.samples["train"]), self.seed, *self._process(), shares)
        if self.trainer is not None:
            # Lightning makes a fit's first iterator before it restores and announces the epoch.
            sampler.set_epoch(max(self.trainer.current_epoch, self.first_epoch))
        return self._loader("train", TrainingBatches(sampler, self.batch_size), keeps_workers=True)

    def val_dataloader(self) -> Loader:
        """Return the validation split's batches, each image once, as the weights' authors see it."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> Loader:
        """Return the test split's batches, each image once, as the weights' authors see it."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: str) -> Loader:
        batches = EvaluationBatches(len(self.samples[split]), self.batch_size, *self._process())
        return self._loader(split, batches, keeps_workers=split == "val")

    def _loader(self, split: str, batches: Sampler[list[Key]], keeps_workers: bool) -> Loader:
        generator = torch.Generator()  # A loader without its own draws from the global one.
        if split in self.features:
            # Rows come as whole batches; there is nothing that a worker could do meanwhile.
            features = self.features[split]
            return DataLoader(features, batch_sampler=batches, collate_fn=as_it_is, generator=generator)
        return DataLoader(
            self.images(split, augmented=split == "train", kept=self.keep_decoded(split)),
            batch_sampler=batches,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0 and keeps_workers,
            pin_memory=torch.cuda.is_available(),
            generator=generator,
        )

    def _class_shares(self) -> list[float]:
        """Return for each training image one over the number of its class."""
        counts = Counter(sample.class_name for sample in self.samples["train"])
        return [1 / counts[sample.class_name] for sample in self.samples["train"]]

    def _process(self) -> tuple[int, int]:
        """Return this process's number and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


class ElpvDataModule(ImageFolderDataModule):
    """The solar cells of the package elpv-dataset, prepared as an image folder when it is missing.

    `cut`: a cell is defective where its probability of a defect is above it.
    """

    def __init__(self, root: str, cut: float = 0.5, **settings: Any) -> None:
        prepare_elpv(Path(root).expanduser(), cut)
        super().__init__(root, **settings)


def as_it_is(batch: Any) -> Any:
    """Return a batch that its data set has made as a whole."""
    return batch


def check_settings(
    val_fraction: float,
    test_fraction: float,
    image_size: int | None,
    batch_size: int,
    on_error: str,
    cache: str,
) -> None:
    """Raise a UserError for a setting outside its range."""
    for key, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1:
            raise UserError(f"data.{key}={fraction}: it is a share between 0 and 1.")
    if val_fraction + test_fraction >= 1:
        raise UserError("data.val_fraction and data.test_fraction leave nothing to train on.")
    if batch_size < 1:
        raise UserError(f"data.batch_size={batch_size}: it is at least 1.")
    if image_size is not None and image_size < 8:
        raise UserError(f"data.image_size={image_size}: it is in pixels, at least 8.")
    if on_error not in ("raise", "skip"):
        raise UserError(f"data.on_error={on_error}: write raise or skip.")
    if cache not in CHOICES:
        raise UserError(f"data.cache={cache}: write one of {', '.join(CHOICES)}.")


def stated_range(value_range: Sequence[float] | str) -> ValueRange | None:
    """Return the range that the settings give, None for `auto`; UserError for anything else."""
    if value_range == "auto":
        return None
    numbers = [] if isinstance(value_range, str) else list(value_range)
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise UserError(f"data.value_range={value_range}: write auto, or black and white such as [0,4095].")
    return float(numbers[0]), float(numbers[1])


def resolve_workers(num_workers: int | str, images: int) -> int:
    """Return how many processes decode: as many as asked for, or what fits the machine."""
    if num_workers == "auto":
        return 0 if images < FEW_IMAGES else min(MOST_WORKERS, max(1, usable_cpus() - 1))
    if not isinstance(num_workers, int) or num_workers < 0:
        raise UserError(f"data.num_workers={num_workers}: write auto or a number of processes.")
    return num_workers
