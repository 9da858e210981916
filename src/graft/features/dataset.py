"""Cached features as a data set with the order and labels of the images that they are computed from."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from graft.data.dataset import Key
from graft.features.store import FeatureStore
from graft.features.views import Views


class FeatureDataset(Dataset[tuple[Tensor, Tensor]]):
    """The features of a split's views; the seed that augments an image selects one of its views."""

    def __init__(self, store: FeatureStore, views: Views) -> None:
        self.store = store
        self.locations = store.locate(views.keys).reshape(-1, views.count, 2)
        assert (self.locations >= 0).all()
        self.labels = torch.stack([torch.as_tensor(label) for label in views.labels])
        self.width = store.width

    @property
    def views(self) -> int:
        """Of each image; all but the first are augmented."""
        return int(self.locations.shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        features, labels = self.__getitems__([key])
        return features[0], labels[0]

    def __getitems__(self, keys: list[Key]) -> tuple[Tensor, Tensor]:
        """Return features `[B, width]` and labels `[B, ...]`."""
        indices = [index for index, _ in keys]
        views = [0 if seed is None else seed % self.views for _, seed in keys]
        return self._rows(self.locations[indices, views]), self.labels[indices]

    def part(
        self, images: np.ndarray | slice = slice(None), views: int | None = None, width: int | None = None
    ) -> "FeatureDataset":
        """Return some of the images, the first views of each, and the last `width` features of a view."""
        part = copy.copy(self)
        part.locations, part.labels = self.locations[images, :views], self.labels[images]
        part.width = width or self.width
        return part

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features `[n, width]` and labels `[n, ...]` of all views of all images, n <= size."""
        locations = self.locations.reshape(-1, 2)
        labels = self.labels.repeat_interleave(self.locations.shape[1], dim=0)
        for start in range(0, len(locations), size):
            yield self._rows(locations[start : start + size]), labels[start : start + size]

    def _rows(self, locations: np.ndarray) -> Tensor:
        return torch.from_numpy(self.store.read(locations)[:, -self.width :]).float()
