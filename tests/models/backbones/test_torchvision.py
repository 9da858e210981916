"""Every classification network of torchvision: head, features, preprocessing, stages."""

from contextlib import AbstractContextManager

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model_weights, list_models

from graft.errors import UserError
from graft.models.backbones import build_backbone, build_head, rebuild_backbone, stages
from graft.models.backbones.backbone import Backbone
from graft.models.backbones.sources.torchvision import build, preprocessing
from tests.models.backbones.conftest import StageOrder

NAMES = list_models(module=torchvision.models)
FAMILIES = {  # one small member, and a small legal input in pixels
    "alexnet": 63,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 64,
    "inception_v3": 299,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11": 32,
    "vit_b_32": 224,
}


def test_the_matrix_is_all_of_torchvision() -> None:
    assert len(NAMES) >= 80


@pytest.mark.parametrize("name", NAMES)
def test_every_network_gets_a_new_head_and_each_parameter_is_in_one_stage(
    name: str, without_memory: AbstractContextManager[None]
) -> None:
    with without_memory:
        backbone = build_backbone("torchvision", name, weights=None)
        head = build_head(backbone, 7)
    whole = [n for n, m in backbone.named_modules() if getattr(m, "out_features", 0) == 1000]
    placed = [parameter for stage in stages(backbone) for parameter in stage.parameters]

    assert whole == []
    assert [m.out_features for m in head.modules() if isinstance(m, nn.Linear)] in ([7], [])
    assert sorted(placed) == sorted(n for n, _ in backbone.named_parameters())
    assert len(placed) == len(set(placed))
    names = [stage.name for stage in stages(backbone)]
    assert names[0] == "stem"
    assert len(names) == len(set(names)) >= 4
    assert "head" not in names
    assert backbone.weights == "random"


@pytest.mark.parametrize("name", NAMES)
def test_the_preprocessing_is_that_of_each_set_of_weights(name: str) -> None:
    for entry in get_model_weights(name):
        wanted, found = entry.transforms(), preprocessing(entry)

        assert found.resize == tuple(wanted.resize_size)
        assert found.crop == (wanted.crop_size[0], wanted.crop_size[0])
        assert found.interpolation == wanted.interpolation.value
        assert found.antialias == wanted.antialias
        assert found.mean == tuple(wanted.mean)
        assert found.std == tuple(wanted.std)


@pytest.mark.parametrize(("name", "size"), FAMILIES.items())
def test_a_family_keeps_its_mathematics_its_order_of_stages_and_its_gradients(
    name: str, size: int, stage_order: StageOrder
) -> None:
    built = build(name, None, {})
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        logits = built.network.eval()(images)
    original = built.network.get_submodule(built.classifiers[0])
    backbone = Backbone("torchvision", built).eval()
    head = build_head(backbone, 1000)

    with torch.no_grad():
        features, order = stage_order(backbone, images)

    assert order == list(range(len(stages(backbone))))
    if backbone.has_convolutional_head:
        head.load_state_dict({f"1.{key}": value for key, value in original.state_dict().items()})
        original = head
    else:
        assert features.shape == (2, backbone.num_features)
    torch.testing.assert_close(original(features), logits)

    features = backbone.train()(images)
    head(features).square().sum().backward()

    assert isinstance(features, torch.Tensor)
    for stage in stages(backbone):
        gradients = [backbone.get_parameter(name).grad for name in stage.parameters]
        assert any(g is not None for g in gradients), stage.name


def test_resnet_vgg_and_vit_have_the_stages_that_one_expects(
    without_memory: AbstractContextManager[None],
) -> None:
    def names(name: str) -> list[str]:
        return [stage.name for stage in stages(build_backbone("torchvision", name, None))]

    with without_memory:
        assert names("resnet18") == ["stem", "layer1", "layer2", "layer3", "layer4"]
        assert len(names("vgg16")) == 6
        assert len(names("vit_b_16")) == 13
        assert names("efficientnet_b0")[1:] == [f"features.{i}" for i in range(1, 9)]
        vit = build_backbone("torchvision", "vit_b_16", None)
    assert "network.class_token" in stages(vit)[0].parameters
    assert "network.encoder.pos_embedding" in stages(vit)[0].parameters
    assert "network.encoder.ln.weight" in stages(vit)[-1].parameters


def test_options_reach_the_constructor_and_the_rebuilt_network() -> None:
    backbone = build_backbone("torchvision", "mobilenet_v3_small", None, {"dropout": 0.7})

    rebuilt = rebuild_backbone(**backbone.spec())

    assert [m.p for m in rebuilt.modules() if isinstance(m, nn.Dropout)] == [0.7]
    assert rebuilt.spec() == backbone.spec()


def test_a_vit_of_another_size_gets_images_of_that_size() -> None:
    backbone = build_backbone("torchvision", "vit_b_32", None, {"image_size": 64})

    assert backbone.preprocessing.crop == (64, 64)
    assert backbone.preprocessing.resize == (73,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("torchvison", "resnet18"), ["model.source=torchvison", "'torchvision'"]),
        (("torchvision", "resnet81"), ["model.name=resnet81", "'resnet18'"]),
        (("torchvision", "resnet18", "IMAGENET1K_V7"), ["model.weights", "'IMAGENET1K_V1'"]),
        (("torchvision", "resnet18", None, {"wrong": 1}), ["model.options", "wrong"]),
        (("torchvision", "resnet18", None, {"num_classes": 2}), ["model.options.num_classes"]),
    ],
)
def test_a_mistake_is_named_in_one_line(arguments: tuple[str, str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build_backbone(*arguments)

    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)
