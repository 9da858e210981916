"""fastai's `fine_tune` with its own head, rates and schedule, on images as the weights need them."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.ways.network import BATCH_SIZE, accuracy, loaders, pretrained


def main(root: Path, epochs: int) -> None:
    """Train the head for an epoch and everything for `epochs`, and print the accuracies at the end."""
    import fastai.callback.schedule  # noqa: F401  (both give the learner its methods)
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy as fastai_accuracy
    from fastai.vision.learner import vision_learner

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    batches = loaders(root)
    dataset: Any = batches["train"].dataset
    served = [
        DataLoader(batches[split].dataset, bs=BATCH_SIZE, num_workers=1, shuffle=split == "train")
        for split in ("train", "val")
    ]
    learner: Any = vision_learner(
        DataLoaders(*served, device="cpu"),
        "tf_efficientnet_lite0",
        normalize=False,  # The images are, as these weights need it.
        n_out=len(dataset.classes),
        pretrained=False,  # Would download; the packaged weights are put in below.
        loss_func=CrossEntropyLossFlat(),
        metrics=fastai_accuracy,
    )
    learner.model[0].model.load_state_dict(pretrained(2)[0].state_dict())
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    network = learner.model
    found = {split: accuracy(network, batches[split]) for split in ("val", "test")}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
