"""L2-SP, MixUp and CutMix: what they add to the loss, and that they are off by default."""

from pathlib import Path

import pytest
import torch
from torch import nn

from graft.errors import UserError
from graft.models.backbones import build_backbone
from graft.models.freezing import Phase
from graft.tasks.losses import FocalLoss
from graft.training.regularisation import StartingPoint, batch_mixing, refuse_useless_pull
from tests.conftest import task_of

THREE = task_of("multiclass", ("a", "b", "c"))


def test_the_pull_grows_with_the_squared_distance_of_what_learns() -> None:
    backbone = nn.Linear(2, 2)
    start = StartingPoint(backbone, strength=0.5)
    assert start.penalty().item() == 0
    with torch.no_grad():
        backbone.weight.add_(2)
        backbone.bias.add_(100)
    backbone.bias.requires_grad_(False)
    assert start.penalty().item() == pytest.approx(0.25 * 4 * 4)


def test_the_pull_points_back_and_is_no_weight_of_its_own() -> None:
    backbone = nn.Linear(2, 2, bias=False)
    start = StartingPoint(backbone, strength=1.0)
    with torch.no_grad():
        backbone.weight.add_(3)
    start.penalty().backward()
    assert backbone.weight.grad is not None
    assert torch.allclose(backbone.weight.grad, torch.full((2, 2), 3.0))
    assert list(start.parameters()) == []
    assert start.state_dict() == {}


def test_mixing_is_off_where_both_alphas_are_0() -> None:
    assert batch_mixing(THREE, FocalLoss(), 0.0, 0.0) is None


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixing_makes_soft_targets_that_sum_to_1(mixup: float, cutmix: float) -> None:
    torch.manual_seed(0)
    mix = batch_mixing(THREE, nn.CrossEntropyLoss(), mixup, cutmix)
    assert mix is not None
    images, targets = mix(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))
    assert images.shape == (4, 3, 8, 8)
    assert torch.allclose(targets.sum(dim=1), torch.ones(4))
    assert ((targets > 0).sum(dim=1) > 1).any()


def test_targets_that_are_not_classes_are_not_mixed() -> None:
    with pytest.raises(UserError, match=r"mixup and cutmix mix classes.*task=regression"):
        batch_mixing(task_of("regression", ("height",)), nn.MSELoss(), 0.4, 0.0)


@pytest.mark.parametrize("loss", [FocalLoss(), nn.MultiMarginLoss()])
def test_a_loss_that_takes_soft_targets_for_something_else_is_refused(loss: nn.Module) -> None:
    with pytest.raises(UserError, match=r"need loss=cross_entropy.*Loss does not take"):
        batch_mixing(THREE, loss, 0.4, 0.0)


def test_a_pull_towards_random_weights_is_refused() -> None:
    backbone = build_backbone("timm", "test_efficientnet", None)
    with pytest.raises(UserError, match=r"regularisation\.l2_sp=0\.1 .*model\.weights=null"):
        refuse_useless_pull(0.1, backbone, [Phase("everything", ("stem", "head"), 1)])
    refuse_useless_pull(0, backbone, [Phase("head", ("head",), 1)])


def test_a_pull_of_a_backbone_that_stays_frozen_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(build_backbone("timm", "test_efficientnet", None).network.state_dict(), weights)
    backbone = build_backbone("timm", "test_efficientnet", str(weights))
    head, everything = Phase("head", ("head",), 1), Phase("everything", ("stem", "head"), 1)
    with pytest.raises(UserError, match=r"regularisation\.l2_sp=0\.1 .*freeze=false"):
        refuse_useless_pull(0.1, backbone, [head, head])
    refuse_useless_pull(0.1, backbone, [head, everything])
