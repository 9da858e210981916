"""Labelled images in their splits: read from a source, checked, and split."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graft.data.cache_folders import home_expanded
from graft.data.channels import Numbers, channel_statistics
from graft.data.checks import without_unreadable
from graft.data.images import ValueRange
from graft.data.resizing import with_fit, with_image_size
from graft.data.sample import SPLITS, Sample
from graft.data.sources import open_source
from graft.data.splits import check_splits, limit_splits, make_missing_splits, refuse_empty_splits
from graft.data.splits_file import read_splits, write_splits
from graft.preprocessing import Preprocessing
from graft.tasks.task import Task


@dataclass(frozen=True)
class LabelledImages:
    """The samples of every split, and the task fitted to the training targets."""

    root: Path
    samples: Mapping[str, list[Sample]]
    task: Task
    channels: int = 3
    value_range: ValueRange | None = None  # what is black and white in float and 32-bit images
    statistics: tuple[Numbers, Numbers] | None = None  # mean and deviation of channels other than RGB

    def preprocessing(self, of_weights: Preprocessing, image_size: int | None, fit: str) -> Preprocessing:
        """Return the preprocessing of pretrained weights, adapted to these images and settings.

        `image_size`, in pixels, replaces the size that the weights were trained with.
        """
        if image_size is not None:
            of_weights = with_image_size(of_weights, image_size)
        if self.statistics is not None:
            mean, std = self.statistics
            of_weights = replace(of_weights, mean=mean, std=std)
        return replace(with_fit(of_weights, fit), value_range=self.value_range)

    def class_counts(self, split: str) -> list[int]:
        """Return in how many images of a split each of the task's columns is in the target."""
        counts = Counter(name for sample in self.samples[split] for name in sample.target)
        return [counts[name] for name in self.task.columns]

    def digest(self) -> str:
        rows = [[s.path, list(s.target), split] for split in SPLITS for s in self.samples[split]]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def write_splits(self, file: Path) -> None:
        write_splits([sample for split in SPLITS for sample in self.samples[split]], file)


def read_labelled_images(settings: Mapping[str, Any], task: Task) -> LabelledImages:
    """Return the images that the settings `data` describe, in splits, each checked to be readable.

    Raises UserError where the data set or a setting does not fit.
    """
    source = open_source(settings)
    samples = source.read(task)
    origin = f"data.root={source.root}"
    if settings["splits"] is not None:
        origin = f"data.splits={settings['splits']}"
        unsplit = [replace(sample, split=None) for sample in samples]
        samples = read_splits(Path(settings["splits"]).expanduser(), unsplit)
    strata = task.strata([sample.target for sample in samples])
    samples = [replace(s, stratum=stratum) for s, stratum in zip(samples, strata, strict=True)]
    bounds = settings["value_range"]
    stated = None if bounds == "auto" else (float(bounds[0]), float(bounds[1]))
    cache, channels = home_expanded(settings["cache_dir"]), settings["channels"]
    samples, value_range = without_unreadable(
        source.root, samples, settings["on_error"], cache, stated, channels
    )
    if settings["splits"] is None:
        fractions = {"val": settings["val_fraction"], "test": settings["test_fraction"]}
        samples = make_missing_splits(samples, fractions, settings["seed"], task.has_classes)
    if settings["limit"] is not None:
        samples = limit_splits(samples, settings["limit"], settings["seed"], task.has_classes)
    by_split = {split: [sample for sample in samples if sample.split == split] for split in SPLITS}
    refuse_empty_splits(by_split, origin)
    fitted = task.fitted([sample.target for sample in by_split["train"]], source.target_names(task))
    check_splits(by_split, fitted, origin)
    statistics = None
    if channels != 3:
        statistics = channel_statistics(source.root, by_split["train"], channels, value_range, cache)
    return LabelledImages(source.root, by_split, fitted, channels, value_range, statistics)
