"""GoogLeNet's and Inception's auxiliary classifiers, and the input scaling of their weights."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision

from graft.models.backbones import Backbone, build_backbone, build_head, rebuild_backbone, stages

# For training, Inception's auxiliary classifier needs more pixels than the network itself.
SIZES = {"googlenet": 64, "inception_v3": 299}
WEIGHTS = {"googlenet": (2, 0.3), "inception_v3": (1, 0.4)}
FILES = {"googlenet": "googlenet-1378be20.pth", "inception_v3": "inception_v3_google-0cc3c7bd.pth"}


@pytest.fixture(scope="module", params=SIZES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    backbone = build_backbone("torchvision", request.param, weights=None)
    build_head(backbone, 5)
    return backbone


def test_auxiliary_losses_reach_the_auxiliary_classifiers(backbone: Backbone) -> None:
    images = torch.randn(2, 3, SIZES[backbone.name], SIZES[backbone.name])

    _, logits = backbone.train().forward_with_auxiliary(images)
    loss = sum(F.cross_entropy(one, torch.tensor([0, 1])) for one in logits)
    assert isinstance(loss, torch.Tensor)
    (backbone.auxiliary_weight * loss).backward()

    assert (len(logits), backbone.auxiliary_weight) == WEIGHTS[backbone.name]
    for one in logits:
        assert one.shape == (2, 5)
    for name in backbone.auxiliary:
        assert backbone.network.get_parameter(f"{name}.weight").grad is not None
        assert f"network.{name}.weight" in stages(backbone)[-1].parameters


def test_evaluation_knows_no_auxiliary_classifiers(backbone: Backbone) -> None:
    images = torch.randn(1, 3, SIZES[backbone.name], SIZES[backbone.name])
    backbone.eval()

    with torch.no_grad():
        features, logits = backbone.forward_with_auxiliary(images)

        assert logits == []
        torch.testing.assert_close(backbone(images), features)


def test_without_them_evaluation_is_the_same_and_the_spec_says_so(backbone: Backbone) -> None:
    images = torch.randn(1, 3, SIZES[backbone.name], SIZES[backbone.name])
    with torch.no_grad():
        features = backbone.eval()(images)
    slim = rebuild_backbone(**backbone.spec())
    build_head(slim, 5)
    slim.load_state_dict(backbone.state_dict())

    slim.remove_auxiliary_heads()

    with torch.no_grad():
        torch.testing.assert_close(slim.eval()(images), features)
    _, logits = slim.train().forward_with_auxiliary(images.expand(2, -1, -1, -1))
    assert logits == []
    rebuilt = rebuild_backbone(**slim.spec())
    assert rebuilt.state_dict().keys() == slim.state_dict().keys()
    assert not any("aux" in key.lower() for key in slim.state_dict())


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("where", ["default", "file"])
def test_pretrained_input_scaling_survives_a_rebuild(
    name: str, where: str, tmp_path: Path, torch_home: Path
) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name, init_weights=False, aux_logits=True)
    state = network.to_empty(device="cpu").state_dict()
    for value in state.values():
        value.fill_(0.01)
    torch_home.mkdir(parents=True)
    torch.save(state, torch_home / FILES[name])
    torch.save(state, tmp_path / "copy.pth")

    weights = "default" if where == "default" else str(tmp_path / "copy.pth")
    backbone = build_backbone("torchvision", name, weights).eval()
    rebuilt = rebuild_backbone(**backbone.spec()).eval()
    rebuilt.load_state_dict(backbone.state_dict())

    slim = build_backbone("torchvision", name, weights, {"aux_logits": False}).eval()

    assert not slim.auxiliary
    assert backbone.network.transform_input is True
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(images), backbone(images))
        torch.testing.assert_close(slim(images), backbone(images))
