"""Images as tensors, and the order they come in: both functions of seed and epoch alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import v2

from graft.data.decoded import DecodedImages
from graft.data.images import reread_image
from graft.data.sample import Sample
from graft.data.transforms import apply
from graft.preprocessing import Preprocessing
from graft.tasks.task import Task

# An index, and for training the seed of this image's augmentation in this epoch.
Key = tuple[int, int | None]


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Labelled images, from their files or `decoded`: `dataset[index, seed]` is `([C, H, W], target)`.

    `shorter_side` is the least that the transform needs of an image, in pixels; see `read_image`.
    """

    def __init__(
        self,
        root: Path,
        samples: Sequence[Sample],
        task: Task,
        transform: v2.Compose,
        shorter_side: int,
        preprocessing: Preprocessing,
        decoded: DecodedImages | None = None,
    ) -> None:
        self.root = root
        self.paths = [sample.path for sample in samples]
        self.targets = [task.encode(sample.target) for sample in samples]
        self.transform = transform
        self.decoded = decoded
        self.format = preprocessing.channels, shorter_side, preprocessing.value_range

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        index, seed = key
        if self.decoded is None:
            image = reread_image(f"{self.root}/{self.paths[index]}", *self.format)
        else:
            image = self.decoded[index]
        return apply(self.transform, image, seed), self.targets[index]


class EvaluationBatches(Sampler[list[Key]]):
    """Every image once, in order; with several processes each has its own share, none twice."""

    def __init__(self, size: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        self.indices, self.batch_size = range(rank, size, processes), batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield [(index, None) for index in self.indices[start : start + self.batch_size]]


class EpochSampler(Sampler[Key]):
    """A new order and new augmentation seeds every epoch, from (seed, epoch) alone.

    Each of several processes takes every n-th of the same order; the first few images fill up the last round.
    """

    def __init__(
        self, size: int, seed: int, rank: int = 0, processes: int = 1, shares: Sequence[float] | None = None
    ) -> None:
        self.size, self.seed, self.rank, self.processes = size, seed, rank, processes
        self.shares = shares  # relative frequency of each image, drawn with replacement; None: each once
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.processes)

    def __iter__(self) -> Iterator[Key]:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.shares is None:
            order = torch.randperm(self.size, generator=chance).tolist()
        else:
            weights = torch.tensor(self.shares)
            order = torch.multinomial(weights, self.size, True, generator=chance).tolist()
        seeds = torch.randint(2**62, (self.size,), generator=chance).tolist()
        keys = list(zip(order, seeds, strict=True))
        keys += keys[: len(self) * self.processes - self.size]
        return iter(keys[self.rank :: self.processes])


class TrainingBatches(Sampler[list[Key]]):
    """Batches of a sampler's keys; a leftover of one joins the batch before it.

    BatchNorm cannot be trained on a batch of one, and no image may be dropped.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int) -> None:
        self.sampler, self.batch_size = sampler, batch_size

    def __len__(self) -> int:
        whole, left = divmod(len(self.sampler), self.batch_size)
        return max(1, whole + (left > 1 or (left == 1 and self.batch_size == 1)))

    def __iter__(self) -> Iterator[list[Key]]:
        keys = list(self.sampler)
        for number in range(len(self)):
            is_last = number == len(self) - 1
            start = number * self.batch_size
            yield keys[start:] if is_last else keys[start : start + self.batch_size]
