"""The views of a split's images, each with the key that its features are stored under."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from graft.data.module import ImageDataModule
from graft.data.transforms import Augmentation, augmentation_key
from graft.features.recipe import own_code
from graft.features.store import KEY


class Views(Dataset[Tensor]):
    """`count` views `[C, H, W]` of every image of a split: item `i * count + v` is view v of image i.

    View 0 is the image as evaluation sees it, the others are augmented.
    """

    def __init__(self, data: ImageDataModule, split: str, count: int = 1) -> None:
        self.split, self.count = split, count  # Not `data`: every worker gets a copy of these attributes.
        self.plain = data.dataset(split, augmented=False)
        self.augmented = data.dataset(split, augmented=True)
        code = own_code(data.augmentation.transforms)
        keys = [
            view_key(sample.digest, data.augmentation, view, data.cache != "none", code)
            for sample in data.images.samples[split]
            for view in range(count)
        ]
        self.keys = np.frombuffer(b"".join(keys), KEY)
        self.labels = self.plain.targets

    @property
    def augmented_keys(self) -> np.ndarray:
        return self.keys.reshape(-1, self.count)[:, 1:].reshape(-1)

    def keep_decoded(self, data: ImageDataModule) -> None:
        """Read augmented views from decoded images, if `data` keeps them, so that each is decoded once."""
        self.augmented = data.dataset(self.split, True, data.decode(self.split))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Tensor:
        index, view = divmod(int(number), self.count)
        if view == 0:
            return self.plain[index, None][0]
        # A seed from the key alone: the same view in every run and every data set.
        seed = int.from_bytes(self.keys[number : number + 1].tobytes()[:8], "little") >> 2
        return self.augmented[index, seed][0]


def view_key(
    image: str, augmentation: Augmentation, view: int, is_decoded: bool, code: Mapping[str, str] | None = None
) -> bytes:
    """Return the key of a view of the image with this digest.

    `is_decoded`: taken from a decoded image. `code`: the hash of what augments it, see `own_code`. View 0
    depends on none of these.
    """
    parts = [image]
    if view:
        parts += [augmentation_key(augmentation), str(view)]
        parts += ["out of a kept image"] * is_decoded
        parts += [json.dumps(code)] if code else []
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=KEY.itemsize).digest()
