"""Images of any number of channels: the first layer is adapted as by timm, or the network is refused."""

from pathlib import Path

import pytest
import timm
import torch

from graft.errors import UserError
from graft.models.backbones import build_backbone, rebuild_backbone
from graft.models.classifier import Classifier


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_pretrained_weights_are_adapted_as_timm_adapts_them(name: str, channels: int, tmp_path: Path) -> None:
    state = timm.create_model(name).state_dict()
    torch.save(state, tmp_path / "mine.pth")
    expected = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, in_chans=channels
    ).state_dict()

    backbone = build_backbone("timm", name, str(tmp_path / "mine.pth"), channels=channels)

    assert backbone.channels == channels
    for key, value in backbone.network.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize(
    ("source", "name", "size"),
    [
        ("torchvision", "resnet18", 32),
        ("torchvision", "vit_b_16", 224),
        ("torchvision", "googlenet", 32),
        ("timm", "crossvit_tiny_240", 240),  # It sees the images in two convolutions.
    ],
)
def test_a_network_runs_with_five_channels_and_is_rebuilt(source: str, name: str, size: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(source, name, None, channels=5).eval()
        rebuilt = rebuild_backbone(**backbone.spec()).eval()
        images = torch.empty(2, 5, size, size)

        assert backbone.spec()["channels"] == 5
        assert Classifier(backbone, torch.nn.Identity())(images).shape == (2, backbone.num_features)
        assert rebuilt(images).shape == (2, backbone.num_features)
    own, again = (network.state_dict() for network in (backbone, rebuilt))
    assert {key: value.shape for key, value in own.items()} == {k: v.shape for k, v in again.items()}


def test_a_size_is_chosen_for_images_of_many_channels() -> None:
    with torch.device("meta"):
        backbone = build_backbone("timm", "vit_tiny_patch16_224", None, image_size=64, channels=4).eval()

        assert backbone.options == {"img_size": 64}
        assert backbone(torch.empty(1, 4, 64, 64)).shape == (1, backbone.num_features)


def test_a_file_of_a_network_for_more_channels_is_loaded_and_belongs_to_that_many(tmp_path: Path) -> None:
    state = timm.create_model("resnet10t", in_chans=6).state_dict()
    torch.save(state, tmp_path / "mine.pth")

    backbone = build_backbone("timm", "resnet10t", str(tmp_path / "mine.pth"), channels=6)

    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, state[key])
    with pytest.raises(UserError, match=r"data\.channels=3: resnet10t takes images of 6 channels"):
        build_backbone("timm", "resnet10t", str(tmp_path / "mine.pth"))


@pytest.mark.parametrize(
    ("source", "name", "options"),
    [
        ("torchvision", "googlenet", {"transform_input": True}),  # It scales red, green and blue itself.
        ("timm", "tresnet_m", {}),  # It folds pixels into channels first.
        ("timm", "naflexvit_base_patch16_gap", {}),  # It begins with a linear layer.
    ],
)
def test_a_network_that_cannot_be_adapted_is_refused(
    source: str, name: str, options: dict[str, bool]
) -> None:
    message = rf"data\.channels=5: {name} .*data\.channels=3"
    with torch.device("meta"), pytest.raises(UserError, match=message):
        build_backbone(source, name, None, options, channels=5)
