"""Accumulated gradients are those of one large batch, however many batches and images a group has."""

import copy
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from graft.models.backbones import build_backbone, build_head
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, named_stages
from graft.training.module import Position, TransferModule
from tests.conftest import make_module

IMAGES = torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 0, 1, 0, 2, 2, 1, 0])


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    backbone = build_backbone("timm", "test_efficientnet", None)
    return Classifier(backbone, build_head(backbone, 3))


def trained(
    classifier: Classifier, sizes: list[int], accumulate: int, **settings: Any
) -> tuple[dict[str, Tensor], list[float]]:
    """Train an epoch of batches with these sizes; return the weights and the losses that were logged."""
    logged: list[float] = []

    class Noting(TransferModule):
        def log(self, name: str, value: Any, *arguments: Any, **options: Any) -> None:
            if name == "train/loss_step":
                logged.append(float(value))
            super().log(name, value, *arguments, **options)

    torch.manual_seed(0)
    phase = Phase("everything", tuple(named_stages(classifier)), 1)
    copied = copy.deepcopy(classifier)
    module = make_module(
        copied, phase, optimizer=torch.optim.SGD, norm="frozen", module_class=Noting, **settings
    )
    module.begin(Position())
    module.accumulation.weights = [100.0]  # As a fit leaves it that ends within a group.
    batches: Any = list(zip(IMAGES.split(sizes), LABELS.split(sizes), strict=True))
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return module.state_dict(), logged


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": nn.CrossEntropyLoss(torch.tensor([0.5, 1.0, 3.0]))},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.2), "l2_sp": 0.5},
    ],
    ids=["plain", "class weights", "smoothing and L2-SP"],
)
def test_accumulated_batches_step_as_one_large_batch_also_in_a_shorter_last_group(
    classifier: Classifier, settings: dict[str, Any]
) -> None:
    # Groups of 4 + 3 and 3 + 1 images; with three batches a group the last one has a single batch.
    for sizes, accumulate, large in (([4, 3, 3, 1], 2, [7, 4]), ([3, 3, 3, 2], 3, [9, 2])):
        found, _ = trained(classifier, sizes, accumulate, **settings)
        expected, _ = trained(classifier, large, 1, **settings)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_a_steps_loss_is_logged_once_however_many_batches_it_has(classifier: Classifier) -> None:
    _, logged = trained(classifier, [3, 3, 3, 2], 2)
    assert len(logged) == 2
