"""Stored features as a data set: the same keys, order and labels as the images they come from."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from graft.data.dataset import Key
from graft.features.store import FeatureStore
from graft.features.views import Views


class FeatureDataset(Dataset[tuple[Tensor, Tensor]]):
    """The rows of a split's views, features or flattened activations, all of which are stored.

    The seed that would augment a image chooses one of its views.
    """

    def __init__(self, store: FeatureStore, views: Views) -> None:
        self.store = store
        self.places = store.locate(views.keys).reshape(-1, views.count, 2)
        assert (self.places >= 0).all()
        self.labels = torch.tensor(views.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        features, labels = self.__getitems__([key])
        return features[0], labels[0]

    def __getitems__(self, keys: list[Key]) -> tuple[Tensor, Tensor]:
        """Return features `[B, width]` and labels `[B]`."""
        indices = [index for index, _ in keys]
        views = [0 if seed is None else seed % self.places.shape[1] for _, seed in keys]
        rows = self.store.read(self.places[indices, views])
        return torch.from_numpy(rows).float(), self.labels[indices]

    def chunks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features `[n, width]` and labels `[n]` of all views of all images, `n` at most `rows`."""
        places = self.places.reshape(-1, 2)
        labels = self.labels.repeat_interleave(self.places.shape[1])
        for start in range(0, len(places), rows):
            features = torch.from_numpy(self.store.read(places[start : start + rows])).float()
            yield features, labels[start : start + rows]
