# room: features
"""Folded networks give the same features; what cannot be folded stays as it is."""

import pytest
import torch
from torch import Tensor, nn

from graft.features.folding import folded
from graft.models.backbones import build_backbone


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def with_statistics(network: nn.Module) -> nn.Module:
    """Give every norm statistics and weights of its own; fresh ones change nothing."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                nn.init.normal_(tensor, std=0.1)  # type: ignore[arg-type]
            for tensor in (module.running_var, module.weight):
                nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


@pytest.mark.parametrize(
    ("source", "name"),
    [("timm", "test_efficientnet"), ("timm", "test_resnet"), ("torchvision", "squeezenet1_1"),
     ("torchvision", "resnet18"), ("torchvision", "mobilenet_v3_small")],
)  # fmt: skip
def test_features_are_the_same_without_norms(source: str, name: str) -> None:
    backbone = with_statistics(build_backbone(source, name, weights=None))
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    images = torch.randn(2, 3, 64, 64)
    fast = folded(backbone, images)
    assert norms(fast) == 0
    other = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(fast(other), backbone(other), rtol=1e-4, atol=1e-4)
    assert all(before[name].equal(tensor) for name, tensor in backbone.state_dict().items())


class Branch(nn.Module):
    """Its convolution's output goes into the norm and, as it is, to the end."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(images)
        return (self.norm(maps) + maps).flatten(1)


def test_a_network_that_folding_would_change_stays() -> None:
    network = with_statistics(Branch())
    assert folded(network, torch.randn(2, 3, 8, 8)) is network


def test_a_norm_before_its_convolution_stays() -> None:
    network = with_statistics(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten()))
    assert norms(folded(network, torch.randn(2, 3, 8, 8))) == 1
