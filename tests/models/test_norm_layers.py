"""Every normalisation layer of torch, torchvision and timm is found, held, and nothing else is."""

import inspect
from collections.abc import Iterator

import pytest
import timm.layers as timm_layers
import torch
from timm.layers import evo_norm, filter_response_norm, grn, inplace_abn, norm, norm_act, split_batchnorm
from torch import nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d

from graft.models.backbones import build_backbone, build_head
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, apply_phase, hold_frozen, named_stages
from graft.models.norm_layers import is_norm, norm_layers

OF_TORCH = {
    nn.BatchNorm1d: (8,),
    nn.BatchNorm2d: (8,),
    nn.BatchNorm3d: (8,),
    nn.SyncBatchNorm: (8,),
    nn.InstanceNorm1d: (8,),
    nn.InstanceNorm2d: (8,),
    nn.InstanceNorm3d: (8,),
    nn.LayerNorm: (8,),
    nn.GroupNorm: (2, 8),
    nn.RMSNorm: (8,),
    FrozenBatchNorm2d: (8,),
    LayerNorm2d: (8,),
}
# timm keeps its normalisation layers in these modules.
MODULES = (norm, norm_act, evo_norm, filter_response_norm, inplace_abn, split_batchnorm)


def of_timm() -> Iterator[type[nn.Module]]:
    for module in MODULES:
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, nn.Module) and kind.__module__ == module.__name__:
                yield kind


@pytest.mark.parametrize("kind", OF_TORCH, ids=lambda kind: kind.__name__)
def test_every_norm_of_torch_is_one(kind: type[nn.Module]) -> None:
    assert is_norm(kind(*OF_TORCH[kind]))


@pytest.mark.parametrize("kind", sorted(of_timm(), key=str), ids=lambda kind: kind.__name__)
def test_every_norm_of_timm_is_one(kind: type[nn.Module]) -> None:
    needs_groups = "num_groups" in inspect.signature(kind).parameters and "Evo" not in kind.__name__
    with torch.device("meta"):
        assert is_norm(kind(8, **({"num_groups": 2} if needs_groups else {})))


def test_all_norm_modules_of_timm_were_looked_at() -> None:
    assert len(list(of_timm())) > 40
    assert is_norm(grn.GlobalResponseNorm(8))


class Rms(nn.RMSNorm):
    """A norm whose class a user has named otherwise."""


def test_a_subclass_of_a_norm_is_one_and_a_block_with_a_norm_in_it_is_none() -> None:
    assert is_norm(Rms(8))
    blocks = [
        timm_layers.ConvNormAct(3, 8),
        Conv2dNormActivation(3, 8),
        timm_layers.NormMlpClassifierHead(8, 3),
        timm_layers.NormMlpClassifierHead(8, 0),
        timm_layers.ScaledStdConv2d(3, 8, 1),
        nn.Linear(8, 8),
        nn.Dropout(),
    ]
    assert not any(is_norm(block) for block in blocks)


# Small networks, one for each kind of norm that timm's and torchvision's use.
NETWORKS = {
    "test_resnet": "BatchNorm2d",
    "test_efficientnet": "BatchNormAct2d",
    "test_efficientnet_gn": "GroupNormAct",
    "test_efficientnet_ln": "LayerNormAct2d",
    "test_efficientnet_evos": "EvoNorm2dS0",
    "test_vit": "LayerNorm",
    "test_convnext": "LayerNorm2d",
    "test_mambaout": "LayerNorm",
    "convnextv2_atto": "GlobalResponseNorm",
    "vit_wee_patch16_reg1_gap_256": "LayerNorm",
    "poolformer_s12": "GroupNorm1",
    "resnet50_gn": "GroupNorm",
    "resnetv2_50d_frn": "FilterResponseNormTlu2d",
    "resnetv2_50d_evos": "EvoNorm2dS0",
    "mobilenetv5_base": "RmsNorm2d",
    "gemma4_vit_167m": "RmsNorm",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_held_norms_have_no_parameter_that_learns_in_any_family(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone("timm", name, None)
        classifier = Classifier(backbone, build_head(backbone, 2))
    everything = Phase("everything", tuple(named_stages(classifier)), 1)

    apply_phase(classifier, everything, norm="frozen")
    classifier.train()
    hold_frozen(classifier, norm="frozen")

    kinds = {type(module).__name__ for module in norm_layers(backbone)}
    assert NETWORKS[name] in kinds
    assert not any(module.training for module in norm_layers(backbone))
    learning = {id(p) for p in backbone.parameters() if p.requires_grad}
    assert not any(id(p) in learning for m in norm_layers(backbone) for p in m.parameters(recurse=False))
    weights = [p for p in backbone.parameters() if p.ndim > 1]
    assert sum(id(p) in learning for p in weights) > 0.7 * len(weights)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4, affine=False), nn.InstanceNorm2d(4, track_running_stats=True)]
)
def test_a_norm_without_weights_is_held_in_a_block_that_learns(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Dropout()).train()

    hold_frozen(network, norm="frozen")

    assert [part.training for part in network] == [True, False, True]
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    network(torch.randn(2, 3, 4, 4))
    assert before
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
