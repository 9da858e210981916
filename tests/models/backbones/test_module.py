"""A network of one's own: it is imported, tried, saved with a checkpoint, and rebuilt if that is allowed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graft.errors import UserError
from graft.models.backbones import Backbone, build_backbone, build_head, rebuild_backbone, stages
from graft.models.checkpoints import WEIGHTS_PREFIX
from graft.models.classifier import Classifier
from graft.models.freezing import named_stages

CODE = '''
import torch
from torch import nn


class Features(nn.Sequential):
    """Features [B, width]."""

    def __init__(self, width=8, bands=3):
        super().__init__(
            nn.Conv2d(bands, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, width, 3),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )


class Maps(nn.Module):
    """Maps [B, 6, h, w], computed with a tensor of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(nn.Conv2d(4, 5, 3), nn.Conv2d(5, 5, 3), nn.Conv2d(5, 6, 3))
        self.mask = torch.ones(1, 1, 1)

    def forward(self, images):
        return self.blocks(self.stem(images * self.mask))


class Tokens(nn.Module):
    def forward(self, images):
        return images.flatten(2)


def make(width):
    return Features(width)


def nothing():
    return 1
'''
PREPROCESSING: dict[str, Any] = {
    "size": 32,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bilinear",
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module `my_package` that Python can import."""
    (tmp_path / "my_package.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_package", None)


def own(name: str, options: dict[str, Any] | None = None, **settings: Any) -> Backbone:
    """Build a network as `model=own` does."""
    target = name if "." in name else f"my_package.{name}"
    settings = {"weights": None, "preprocessing": PREPROCESSING} | settings
    return build_backbone("module", "own", options=options, _target_=target, **settings)


@pytest.mark.parametrize(
    ("name", "options", "width"),
    [
        ("Features", {"width": 7}, 7),
        ("make", {"width": 9}, 9),
        ("Maps", {}, 6),
        ("timm.create_model", {"model_name": "test_vit", "num_classes": 0, "img_size": 32}, 64),
    ],
)
def test_features_and_maps_get_a_head_and_stages(name: str, options: dict[str, Any], width: int) -> None:
    backbone = own(name, options)
    classifier = Classifier(backbone, build_head(backbone, 3))
    placed = [parameter for stage in stages(backbone) for parameter in stage.parameters]

    assert backbone.num_features == width
    assert classifier(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert sorted(placed) == sorted(name for name, _ in backbone.named_parameters())
    assert len(named_stages(classifier)) == len(stages(backbone)) + 1
    assert (backbone.preprocessing.crop, backbone.preprocessing.mean) == ((32, 32), (0.1, 0.2, 0.3))


def test_maps_are_averaged() -> None:
    backbone = own("Maps")
    images = torch.randn(2, 3, 32, 32)
    inner = backbone.network.get_submodule("network")

    torch.testing.assert_close(backbone(images), inner(images).mean((2, 3)))


def test_channels_of_its_own_stay_and_others_are_adapted() -> None:
    assert own("Features", {"bands": 5}, channels=5)(torch.randn(2, 5, 32, 32)).shape == (2, 8)
    assert own("Features", channels=5)(torch.randn(2, 5, 32, 32)).shape == (2, 8)


def test_a_file_gives_it_weights(tmp_path: Path) -> None:
    trained = own("Features")
    weights = {f"{WEIGHTS_PREFIX}backbone.{key}": value for key, value in trained.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "mine.pth")

    backbone = own("Features", weights=str(tmp_path / "mine.pth"))

    for key, value in backbone.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])
    assert backbone.is_pretrained


@pytest.mark.parametrize("name", ["Features", "Maps"])
def test_it_is_rebuilt_from_its_spec_where_that_is_allowed(name: str) -> None:
    backbone = own(name).eval()
    images = torch.randn(2, 3, 32, 32)

    with pytest.raises(UserError, match=rf"my_package\.{name}.* my_package is not imported .*allow="):
        rebuild_backbone(**backbone.spec())
    rebuilt = rebuild_backbone(**backbone.spec(), allow=["my_package"]).eval()
    rebuilt.load_state_dict(backbone.state_dict())

    torch.testing.assert_close(rebuilt(images), backbone(images))
    assert (rebuilt.spec(), rebuilt.preprocessing) == (backbone.spec(), backbone.preprocessing)


def test_networks_of_the_libraries_need_no_permission_but_their_functions_do() -> None:
    spec = own("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 2, "kernel_size": 3}).spec()
    assert rebuild_backbone(**spec).num_features == 2

    spec["options"] = spec["options"] | {"_target_": "torch.hub.load", "arguments": {"repo_or_dir": "x/y"}}
    with pytest.raises(UserError, match=r"torch\.hub\.load, .*allow=\[torch\]"):
        rebuild_backbone(**spec)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("Feature", {}, ["my_package.Feature", "cannot be built"]),
        ("Features", {"options": {"depth": 3}}, ["model.options={'depth': 3}", "depth"]),
        ("Features", {"weights": "default"}, ["model.weights=default", "null"]),
        ("nothing", {}, ["my_package.nothing makes a int"]),
        ("Tokens", {}, ["[2, 3, 1024]", "[B, F]"]),
        ("Features", {"options": {"bands": 4}}, ["images of 3 channels and 32 pixels", "data.channels"]),
        ("no_package.Net", {}, ["no_package"]),
    ],
)
def test_a_mistake_is_named_in_one_line(name: str, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        own(name, **settings)

    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)
