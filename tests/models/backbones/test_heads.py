"""New heads: their layers and their shape."""

from typing import Any

import pytest
import torch
from torch import nn

from graft.models.backbones import Backbone, build_backbone, build_head


@pytest.fixture(scope="module")
def linear() -> Backbone:
    return build_backbone("timm", "test_efficientnet", None)


@pytest.fixture(scope="module")
def convolutional() -> Backbone:
    return build_backbone("torchvision", "squeezenet1_1", None)


def kinds(head: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in head.modules() if not list(layer.children())]


def test_a_plain_head_is_one_linear_layer(linear: Backbone) -> None:
    head = build_head(linear, 4)

    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (linear.num_features, 4)


def test_dropout_and_a_hidden_layer_go_before_it(linear: Backbone) -> None:
    assert kinds(build_head(linear, 4, dropout=0.5)) == ["Dropout", "Linear"]
    assert kinds(build_head(linear, 4, hidden=8)) == ["Linear", "GELU", "Linear"]
    assert kinds(build_head(linear, 4, 0.5, 8)) == ["Linear", "GELU", "Dropout", "Linear"]


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.5}, {"hidden": 8}])
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_every_head_yields_logits(
    linear: Backbone, convolutional: Backbone, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    for backbone in (linear, convolutional):
        head = build_head(backbone, 4, **settings)

        assert head(backbone.eval()(torch.randn(2, 3, *size))).shape == (2, 4)
