"""The views of a split's images, each with the key that its features are stored under."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from graft.data.module import ImageFolderDataModule
from graft.data.transforms import Augmentation
from graft.features.store import KEY


class Views(Dataset[Tensor]):
    """`count` views of every image of a split: number `i * count + v` is view v of image i, `[3, H, W]`.

    View 0 is the image as evaluation sees it, the others are augmented.
    """

    def __init__(self, data: ImageFolderDataModule, split: str, count: int = 1) -> None:
        self.split, self.count = split, count  # Not the data: workers get a copy of what is here.
        self.plain = data.images(split, augmented=False)
        self.varied = data.images(split, augmented=True)
        keys = [
            view_key(sample.digest, data.augmentation, view, data.cache != "none")
            for sample in data.samples[split]
            for view in range(count)
        ]
        self.keys = np.frombuffer(b"".join(keys), KEY)
        self.labels = self.plain.labels

    def keep_decoded(self, data: ImageFolderDataModule) -> None:
        """Take augmented views out of decoded images, where the data keep them: each is decoded once."""
        self.varied = data.images(self.split, True, data.keep_decoded(self.split))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Tensor:
        index, view = divmod(int(number), self.count)
        if view == 0:
            return self.plain[index, None][0]
        # A seed from the key alone: the same view in every run and every data set.
        seed = int.from_bytes(self.keys[number : number + 1].tobytes()[:8], "little") >> 2
        return self.varied[index, seed][0]


def view_key(image: str, augmentation: Augmentation, view: int, is_kept: bool = False) -> bytes:
    """Return the key of one view of a image, which is named by the hash of its file.

    View 0 depends neither on the augmentation nor on whether the image is kept decoded.
    """
    parts = [image] if view == 0 else [image, json.dumps(asdict(augmentation)), str(view)]
    if view and is_kept:
        parts.append("out of a kept image")
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=KEY.itemsize).digest()
