"""`model.stages`: features of several stages, from training to an exported file."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor

from graft.errors import UserError
from graft.models.backbones import Backbone, build_backbone, rebuild_backbone
from graft.models.classifier import Classifier


def build(name: str = "test_efficientnet", stages: int = 1, **settings: Any) -> Backbone:
    torch.manual_seed(0)
    return build_backbone("timm", name, weights=None, stages=stages, **settings).eval()


def test_the_own_features_are_bit_identical_and_the_means_of_earlier_stages_come_before_them() -> None:
    alone, several = build(), build(stages=3)
    images = torch.randn(2, 3, 32, 32)
    outputs: list[Tensor] = []
    for name in ("blocks.2", "blocks.3"):
        stage = alone.network.get_submodule(name)
        stage.register_forward_hook(lambda module, inputs, output: outputs.append(output))

    with torch.no_grad():
        own, features = alone(images), several(images)

    assert several.num_features == features.shape[1] == 32 + 48 + alone.num_features
    assert torch.equal(features[:, -alone.num_features :], own)
    torch.testing.assert_close(features[:, :80], torch.cat([o.mean((2, 3)) for o in outputs], 1))


@pytest.mark.parametrize(
    ("name", "options", "width"),
    [  # [B, N, C] and [B, h, w, C]
        ("test_vit", {}, 2 * 64),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 24}, 2 * 192),
    ],
)
def test_positions_are_averaged_whatever_the_layout(name: str, options: dict[str, Any], width: int) -> None:
    backbone = build(name, stages=2, options=options)

    assert backbone.num_features == width
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, *backbone.preprocessing.crop)).shape == (1, width)


def test_a_channel_axis_as_long_as_the_others_is_told_apart() -> None:
    small = {"depths": (1, 1, 1, 1), "embed_dim": 24, "img_size": 96, "window_size": 6}
    name = "swin_tiny_patch4_window7_224"
    alone, several = build(name, options=small), build(name, stages=5, options=small)
    outputs: list[Tensor] = []
    alone.network.get_submodule("layers.0").register_forward_hook(
        lambda module, inputs, output: outputs.append(output)
    )
    images = torch.randn(2, 3, 96, 96)

    with torch.no_grad():
        alone(images)
        features = several(images)

    assert outputs[0].shape == (2, 24, 24, 24)
    torch.testing.assert_close(features[:, :24], outputs[0].mean((1, 2)))


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("torchvision", "alexnet", r"the stage features\.6 of alexnet is several modules"),
        ("timm", "hrnet_w18_small", r"a stage of hrnet_w18_small returns no map"),
    ],
)
def test_stages_without_an_output_of_their_own_are_refused(
    without_memory: AbstractContextManager[None], source: str, name: str, words: str
) -> None:
    with without_memory, pytest.raises(UserError, match=rf"model\.stages=2: {words}.* write model\.stages=1"):
        build_backbone(source, name, weights=None, stages=2)


def test_a_checkpoint_builds_the_same_stages_again() -> None:
    several = build(stages=3)
    rebuilt = rebuild_backbone(**several.spec()).eval()
    rebuilt.load_state_dict(several.state_dict())
    images = torch.randn(2, 3, 32, 32)

    with torch.no_grad():
        assert torch.equal(rebuilt(images), several(images))
    assert "stages" not in build().spec()


def test_more_stages_than_the_network_has_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.stages=6: test_efficientnet takes at most 5\."):
        build(stages=6)
    with pytest.raises(UserError, match="takes at most 1"):
        build_backbone("torchvision", "squeezenet1_1", weights=None, stages=2)


def test_gradients_reach_the_earlier_stages_through_their_means() -> None:
    backbone = build(stages=2)
    head = torch.nn.Linear(backbone.num_features, 2)
    torch.nn.init.zeros_(head.weight[:, 48:])

    Classifier(backbone, head)(torch.randn(2, 3, 32, 32)).sum().backward()

    assert backbone.network.get_parameter("blocks.3.0.conv_pw.weight").grad is not None


def test_threads_that_share_a_network_get_the_features_of_their_own_images() -> None:
    several = build(stages=3)
    images = torch.randn(24, 2, 3, 32, 32)

    @torch.no_grad()
    def features(batch: Tensor) -> Tensor:
        return several(batch)

    expected = [features(batch) for batch in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(features, images))

    torch.testing.assert_close(found, expected)
