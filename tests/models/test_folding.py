"""Folded networks give the same features; what cannot be folded stays as it is."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from graft.models.backbones import Backbone, build_backbone
from graft.models.classifier import Classifier
from graft.models.folding import FoldedTraining, are_close, folded
from graft.models.freezing import Phase, apply_phase, hold_frozen, named_stages

Network = TypeVar("Network", bound=nn.Module)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def with_statistics(network: Network) -> Network:
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


def classifier_of(backbone: Backbone) -> Classifier:
    """Return a classifier in training whose norms are frozen."""
    classifier = Classifier(backbone, nn.Linear(backbone.num_features, 3))
    apply_phase(classifier, Phase("everything", tuple(named_stages(classifier)), 1), norm="frozen")
    hold_frozen(classifier.train(), norm="frozen")
    return classifier


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_training_without_frozen_norms_gives_the_same_gradients(name: str) -> None:
    classifier = classifier_of(with_statistics(build_backbone("timm", name, weights=None)))
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    images = torch.randn(4, 3, 64, 64)
    forward = FoldedTraining(classifier)
    trained = [p for p in classifier.parameters() if p.requires_grad]
    expected = torch.autograd.grad(classifier(images).square().mean(), trained)
    gradients = torch.autograd.grad(forward(images)[0].square().mean(), trained)
    assert len(forward.folds) == norms(classifier)
    assert forward.network is not None
    assert norms(forward.network) == 0
    for gradient, other in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))
    assert all(before[name].equal(tensor) for name, tensor in classifier.state_dict().items())


def test_weights_that_were_changed_are_used() -> None:
    classifier = classifier_of(build_backbone("timm", "test_resnet", weights=None))
    images, forward = torch.randn(2, 3, 64, 64), FoldedTraining(classifier)
    forward(images)
    with torch.no_grad():
        for parameter in classifier.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.1)
    assert torch.allclose(forward(images)[0], classifier(images), rtol=1e-4, atol=1e-5)


def test_norms_that_are_trained_are_not_folded() -> None:
    classifier = classifier_of(build_backbone("timm", "test_resnet", weights=None))
    norm = next(m for m in classifier.modules() if isinstance(m, nn.BatchNorm2d))
    norm.train()  # Follows the images, whatever its weights do.
    forward = FoldedTraining(classifier)
    assert norm.running_mean is not None
    mean = norm.running_mean.clone()
    forward(torch.randn(4, 3, 64, 64) + 3)
    assert len(forward.folds) == norms(classifier) - 1
    assert not norm.running_mean.equal(mean)


def test_outputs_of_another_shape_are_not_close() -> None:
    assert are_close(torch.ones(2, 3), torch.ones(2, 3))
    assert not are_close(torch.ones(2, 3), torch.ones(2, 1))
