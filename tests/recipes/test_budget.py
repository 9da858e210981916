# room: recipes
"""The pace of this machine is measured with what training uses."""

from pathlib import Path
from typing import ClassVar

import lightning as L
import pytest
import torch
from torch import nn

from graft.data.module import ImageDataModule
from graft.data.resizing import with_image_size
from graft.data.transforms import Augmentation
from graft.models.backbones import build_backbone, build_head
from graft.models.classifier import Classifier
from graft.recipes.budget import Pace, measured_pace
from tests.conftest import make_data_module


def tiny(images: Path, **settings: str) -> tuple[Classifier, ImageDataModule, L.Trainer]:
    backbone = build_backbone("timm", "test_efficientnet", weights=None)
    preprocessing = with_image_size(backbone.preprocessing, 32)
    data = make_data_module(images, preprocessing, Augmentation(), batch_size=4, **settings)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    return Classifier(backbone, build_head(backbone, 2)), data, trainer


class Moved(nn.CrossEntropyLoss):
    """Notes what it is moved to."""

    devices: ClassVar[list[torch.device]] = []

    def to(self, device: torch.device) -> "Moved":  # type: ignore[override]
        self.devices.append(device)
        return self


def test_a_copy_of_the_loss_goes_to_the_device_of_the_network(images: Path) -> None:
    classifier, data, trainer = tiny(images)
    loss = Moved(torch.ones(2))

    measured_pace(classifier, data, loss, trainer, 10.0)

    assert Moved.devices == [trainer.strategy.root_device]


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_reading_is_timed_from_decoded_images_where_training_reads_those(
    images: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    classifier, data, trainer = tiny(images, cache=cache)
    monkeypatch.setattr("graft.data.dataset.reread_image", lambda *_: pytest.fail("read from a file"))

    pace = measured_pace(classifier, data, nn.CrossEntropyLoss(), trainer, 10.0)

    assert pace.decoding > 0
    assert pace.before_fit == pace.decoding * (
        len(data.images.samples["train"]) + len(data.images.samples["val"])
    )


def test_epochs_count_the_steps_of_the_optimizer() -> None:
    images = {"train": 100, "val": 10, "test": 10}
    every, each_third = (
        Pace(0.0, 0.0, 0.0, 0.0, images, batch_size=10, batches_per_step=number, ending=0.0)
        for number in (1, 3)
    )
    assert every.epochs(20) == 2
    assert each_third.epochs(20) == 5  # 10 batches make 4 steps.
