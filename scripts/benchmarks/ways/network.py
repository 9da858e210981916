"""What every way has in common: packaged weights, a new head, preprocessing, images in batches."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from graft.data.images import open_rgb
from graft.data.transforms import evaluation_transform
from graft.models.backbones import build_backbone

BATCH_SIZE = 32
LEARNING_RATE = 0.003
WEIGHT_DECAY = 0.01


def pretrained(classes: int, name: str = "efficientnet_lite0") -> nn.Sequential:
    """Return backbone and head in contiguous memory, as every network comes."""
    source = source_of(name)
    backbone = build_backbone(source, name, weights="default" if source == "packaged" else None)
    return nn.Sequential(backbone.network, nn.Linear(backbone.num_features, classes))


def source_of(name: str) -> str:
    return "packaged" if name == "efficientnet_lite0" else "torchvision"


def loaders(root: Path, workers: int = 1) -> dict[str, DataLoader]:
    """Return torchvision's ImageFolder of each split in loaders, without augmentation."""
    transform = evaluation_transform(build_backbone("packaged", "efficientnet_lite0").preprocessing)
    return {
        split: DataLoader(
            ImageFolder(str(root / split), transform, loader=lambda path: open_rgb(Path(path))),
            batch_size=BATCH_SIZE,
            shuffle=split == "train",
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for split in ("train", "val", "test")
    }


def accuracy(network: nn.Module, batches: DataLoader) -> float:
    """Return the share of images that a network in evaluation mode classifies right."""
    network.eval()
    right = total = 0
    with torch.inference_mode():
        for images, labels in batches:
            right += int((network(images).argmax(dim=1) == labels).sum())
            total += len(labels)
    return right / total


def packaged_weights() -> dict[str, torch.Tensor]:
    """Return the packaged weights under timm's names."""
    return build_backbone("packaged", "efficientnet_lite0").network.state_dict()
