"""A network for the size of the images: built for it, or refused with the sizes that it takes."""

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from graft.errors import UserError
from graft.models.backbones import Backbone, build_backbone, build_head, rebuild_backbone
from graft.models.backbones.image_sizes import failure, runs
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, named_stages
from graft.models.trial import refuse_failing_phase

BUILT_FOR_A_SIZE = [
    ("torchvision", "vit_b_32", 64),
    ("torchvision", "maxvit_t", 448),
    ("timm", "vit_tiny_patch16_224", 64),
    ("timm", "swin_tiny_patch4_window7_224", 96),
    ("timm", "vit_tiny_patch16_224", 100),
]


def on_no_device(source: str, name: str, size: int) -> Backbone:
    with torch.device("meta"):
        return build_backbone(source, name, None, image_size=size)


@pytest.mark.parametrize(("source", "name", "size"), BUILT_FOR_A_SIZE)
def test_a_network_of_one_size_is_built_for_another_and_rebuilt(source: str, name: str, size: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(source, name, None, image_size=size).eval()
        rebuilt = rebuild_backbone(**backbone.spec()).eval()
        images = torch.empty(1, 3, size, size)
        assert rebuilt(images).shape == (1, backbone.num_features)
    assert {k: v.shape for k, v in backbone.state_dict().items()} == {
        k: v.shape for k, v in rebuilt.state_dict().items()
    }
    assert backbone.preprocessing.crop == (size, size)


@pytest.mark.parametrize(("source", "name"), [("torchvision", "resnet18"), ("timm", "test_efficientnet")])
def test_a_network_of_any_size_is_built_as_it_is(source: str, name: str) -> None:
    backbone = build_backbone(source, name, None, image_size=40)

    assert backbone.spec() == build_backbone(source, name, None).spec()


def test_the_position_embedding_of_torchvisions_weights_is_interpolated(torch_home: Path) -> None:
    state = torchvision.models.vit_b_32().state_dict()
    torch_home.mkdir(parents=True)
    torch.save(state, torch_home / "vit_b_32-d86f8d99.pth")

    backbone = build_backbone("torchvision", "vit_b_32", image_size=64)

    expected = interpolate_embeddings(64, 32, state)["encoder.pos_embedding"]
    assert torch.equal(backbone.network.get_parameter("encoder.pos_embedding"), expected)
    assert torch.equal(backbone.network.get_parameter("conv_proj.weight"), state["conv_proj.weight"])
    assert backbone.weights == "IMAGENET1K_V1 (torchvision)"
    assert backbone.is_pretrained


def test_the_position_embedding_of_a_file_is_interpolated(tmp_path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224")
    torch.save(network.state_dict(), tmp_path / "mine.pth")

    backbone = build_backbone("timm", "vit_tiny_patch16_224", str(tmp_path / "mine.pth"), image_size=64)

    assert backbone.network.get_parameter("pos_embed").shape == (1, 17, 192)
    weight = backbone.network.get_parameter("patch_embed.proj.weight")
    assert torch.equal(weight, network.get_parameter("patch_embed.proj.weight"))


@pytest.mark.parametrize(
    ("source", "name", "size", "words"),
    [
        ("torchvision", "inception_v3", 32, "images of 75 pixels or more"),
        ("torchvision", "alexnet", 32, "images of 63 pixels or more"),
        ("torchvision", "vit_b_32", 65, "a multiple of 32 pixels, such as 96"),
        ("torchvision", "vit_b_16", 65, "a multiple of 16 pixels, such as 80"),
        ("torchvision", "maxvit_t", 225, "a multiple of 224 pixels, such as 448"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_those_it_takes(
    source: str, name: str, size: int, words: str
) -> None:
    with pytest.raises(UserError, match=rf"data\.image_size={size}: {name} takes .*{words}"):
        on_no_device(source, name, size)


def test_a_size_that_an_option_contradicts_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"data\.image_size=64: vit_tiny_patch16_224 takes images of 96 pixels only"
    ):
        build_backbone("timm", "vit_tiny_patch16_224", None, {"img_size": 96}, image_size=64)


class Own(nn.Module):
    """Computes with a tensor that is neither parameter nor buffer, for images of 8 pixels or more."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.mask = torch.ones(3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(self.norm(images) * self.mask, 8)


def test_a_trial_changes_neither_statistics_nor_random_numbers() -> None:
    network = Own().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()

    assert runs(network, 8)
    assert not runs(network, 7)
    assert failure(network, (8, 8), batch_size=1) is None

    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def classifier(name: str, source: str = "torchvision") -> Classifier:
    with torch.device("meta"):
        backbone = build_backbone(source, name, None)
        return Classifier(backbone, build_head(backbone, 2))


def refusal(network: Classifier, size: int, batch_size: int, norm: str = "train") -> str | None:
    phases = [Phase("head", ("head",), 1), Phase("everything", tuple(named_stages(network)), 1)]
    try:
        refuse_failing_phase(network, phases, norm, (size, size), batch_size)
    except UserError as error:
        return str(error)
    return None


def test_a_batch_of_one_with_maps_of_one_value_is_refused_where_norms_learn() -> None:
    network = classifier("resnet18")

    message = refusal(network, 32, 1)

    assert message is not None
    for words in ("data.batch_size=1", "data.batch_size=2", "finetuning.norm=frozen", "freeze=true"):
        assert words in message
    assert refusal(network, 32, 1, norm="frozen") is None
    assert refusal(network, 64, 1) is None
    assert refusal(network, 32, 2) is None
    refuse_failing_phase(network, [Phase("head", ("head",), 1)], "train", (32, 32), 1)


def test_a_size_that_only_the_auxiliary_classifiers_cannot_take_is_refused_for_learning() -> None:
    message = refusal(classifier("inception_v3"), 160, 4)

    assert message is not None
    assert re.search(
        r"data\.image_size=160: in training, inception_v3 takes images of 299 pixels or more", message
    )
    assert "freeze=true" in message
