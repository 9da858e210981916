"""A network by its name alone: which library it is from, and what a wrong name leads to."""

import pytest
import timm
import torch
import torchvision
from torchvision.models import list_models

from graft.errors import UserError
from graft.models.backbones import build_backbone
from graft.models.backbones.names import source_of

OF_TORCHVISION = list_models(module=torchvision.models)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("resnet34", "torchvision"),  # timm has it, too.
        ("efficientnet_b0", "torchvision"),
        ("resnet10t", "timm"),
        ("resnet50.a1_in1k", "timm"),
        ("vit_small_patch14_dinov2", "timm"),
        ("efficientnet_lite0", "packaged"),
    ],
)
def test_a_name_alone_finds_its_library(name: str, source: str) -> None:
    assert source_of(name) == source


def test_every_name_of_both_libraries_is_found() -> None:
    assert {source_of(name) for name in OF_TORCHVISION} == {"torchvision"}
    assert {source_of(name) for name in timm.list_models()[::10]} == {"torchvision", "timm"}


def test_what_was_found_is_what_a_checkpoint_rebuilds() -> None:
    with torch.device("meta"):
        backbone = build_backbone("auto", "resnet10t", None)

    assert backbone.spec() == {
        "source": "timm",
        "name": "resnet10t",
        "options": {},
        "channels": 3,
        "auxiliary": False,
    }


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("resnt34", "resnet34"),
        ("ResNet-34", "resnet34"),
        ("EfficientNetB0", "efficientnet_b0"),
        ("ViT-B/16", "vit_b_16"),
        ("efficientnet-lite0", "efficientnet_lite0"),
        ("dinov2", "vit_small_patch14_dinov2"),
        ("dinov2_vits14", "vit_small_patch14_dinov2"),
        ("vit_small_dinov2", "vit_small_patch14_dinov2"),
        ("google/vit-base-patch16-224", "vit_base_patch16_224"),
        ("timm/resnet10t", "resnet10t"),
    ],
)
def test_a_wrong_name_leads_to_the_nearest_of_all_libraries(typed: str, nearest: str) -> None:
    with pytest.raises(UserError) as caught:
        source_of(typed)

    assert f"model.name={typed}" in str(caught.value)
    assert f"'{nearest}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_list_of_a_family_is_one_command() -> None:
    with pytest.raises(UserError, match=r"python scripts/models\.py '\*dinov2\*'"):
        source_of("dinov2")
    with pytest.raises(UserError, match=r"python scripts/models\.py lists all"):
        source_of("qqq")
