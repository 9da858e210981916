"""AutoTimm with the packaged weights, frozen or trained as a whole; Trainer and settings are its own.

Frozen, it gets the images as the other ways do; as a whole, it is trained with its own data module.
"""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

from torch.utils.data import DataLoader

from benchmarks.ways.network import BATCH_SIZE, LEARNING_RATE, loaders, pretrained

NETWORK = "tf_efficientnet_lite0"
DEFAULT_RATE = 1e-3  # AutoTimm's own


def main(root: Path, epochs: int, frozen: bool, seed: int) -> None:
    """Train the head or everything, and print the accuracies of the best epoch."""
    import torch
    from autotimm import AutoTrainer, BackboneConfig, ImageClassifier, MetricConfig
    from pytorch_lightning.callbacks import ModelCheckpoint

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    batches = loaders(root) if frozen else own_loaders(root)
    module = ImageClassifier(
        BackboneConfig(NETWORK, pretrained=False),
        num_classes=len(batches["train"].dataset.classes),  # type: ignore[attr-defined]
        metrics=[MetricConfig("accuracy", "torchmetrics", "Accuracy", {"task": "multiclass"}, ["val"])],
        freeze_backbone=frozen,
        compile_model=False,
        lr=LEARNING_RATE if frozen else DEFAULT_RATE,
        seed=seed,
        deterministic=False,
    )
    module.backbone.load_state_dict(pretrained(2)[0].state_dict())
    with tempfile.TemporaryDirectory() as folder:
        kept = ModelCheckpoint(folder, monitor="val/accuracy", mode="max")
        trainer = AutoTrainer(
            max_epochs=epochs,
            accelerator="cpu",
            tuner_config=False,
            callbacks=[kept],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, batches["train"], batches["val"])
        best = float(kept.best_model_score or 0)
        module.load_state_dict(torch.load(kept.best_model_path, weights_only=False)["state_dict"])
    module.eval()
    right = total = 0
    with torch.inference_mode():
        for images, labels in batches["test"]:
            right += int((module(images).argmax(dim=1) == labels).sum())
            total += len(labels)
    sys.stdout.write(json.dumps({"val": best, "test": right / total, "batch_size": BATCH_SIZE}) + "\n")


def own_loaders(root: Path) -> dict[str, DataLoader]:
    """Return AutoTimm's loaders of each split: its augmentation, preprocessing as the weights need it."""
    from autotimm import ImageDataModule, TransformConfig

    data = ImageDataModule(root, batch_size=BATCH_SIZE, transform_config=TransformConfig(), backbone=NETWORK)
    data.setup()
    return {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "frozen", int(sys.argv[4]))
