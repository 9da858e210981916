"""fastai's `fine_tune` as its book does it: random crops, `aug_transforms`, its head, rates and schedule.

https://github.com/fastai/fastbook, chapter 2
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.ways.network import BATCH_SIZE, packaged_weights


def main(root: Path, epochs: int, seed: int) -> None:
    """Train the head for an epoch and everything for `epochs`, and print the accuracies at the end."""
    from fastai.vision.all import (
        ImageDataLoaders,
        RandomResizedCrop,
        aug_transforms,
        set_seed,
        vision_learner,
    )
    from fastai.vision.all import accuracy as fastai_accuracy

    warnings.simplefilter("ignore")
    set_seed(seed, reproducible=True)
    batches: Any = ImageDataLoaders.from_folder(
        root,
        train="train",
        valid="val",
        bs=BATCH_SIZE,
        item_tfms=RandomResizedCrop(224, min_scale=0.5),
        batch_tfms=aug_transforms(),
        device=torch.device("cpu"),
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(packaged_weights(), weights)
        learner: Any = vision_learner(
            batches,
            "tf_efficientnet_lite0",
            metrics=fastai_accuracy,
            pretrained_cfg_overlay={"file": str(weights)},  # timm's download, already here
        )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
        test = batches.test_dl([*(root / "test").glob("*/*")], with_labels=True)
        found = {"val": float(learner.validate()[1]), "test": float(learner.validate(dl=test)[1])}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4]))
