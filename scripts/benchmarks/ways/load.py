"""Loading: two epochs through a loader, images per second of the second one; nothing else runs."""

import json
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.images import SEED, read_folder
from benchmarks.ways.network import BATCH_SIZE
from graft.data.module import ImageDataModule
from graft.data.transforms import Augmentation, training_transform
from graft.models.backbones import build_backbone

AUGMENTATION = Augmentation(min_scale=0.5, horizontal_flip=0.5)  # `light`, the default


def main(way: str, root: Path, folder: str) -> None:
    """Print the images per second of a way: `torchvision`, or Graft's with a choice of `data.cache`."""
    preprocessing = build_backbone("packaged", "efficientnet_lite0").preprocessing
    loader: DataLoader
    if way == "torchvision":
        images = ImageFolder(str(root), training_transform(preprocessing, AUGMENTATION))
        loader = DataLoader(
            images, batch_size=BATCH_SIZE, shuffle=True, num_workers=1, persistent_workers=True
        )
    else:
        loader = ImageDataModule(
            read_folder(root, val_fraction=0.01, test_fraction=0.01, cache_dir=folder),
            preprocessing,
            AUGMENTATION,
            batch_size=BATCH_SIZE,
            num_workers=1,
            seed=SEED,
            balanced=False,
            cache=way,
            cache_dir=folder,
            cache_limit_gb=20,
        ).train_dataloader()
    torch.set_num_threads(1)
    for _ in range(2):
        began, count = time.perf_counter(), 0
        for batch, _labels in loader:
            count += len(batch)
        seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"speed": count / seconds}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
