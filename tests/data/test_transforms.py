"""Evaluation is the weights' own preprocessing, to the last bit; training is varied."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision.models import get_model_weights, list_models

from graft.data.decoded import decoding_side
from graft.data.resizing import with_image_size
from graft.data.transforms import Augmentation, apply, evaluation_transform, training_transform
from graft.models.backbones import build_backbone
from graft.models.backbones.sources.torchvision import preprocessing as preprocessing_of
from graft.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8))


SMALL = Preprocessing((40,), (32, 32), "bilinear", True, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


def test_every_torchvision_weights_own_preprocessing_is_met(image: Image.Image) -> None:
    compared = set()
    for name in list_models(module=torchvision.models):
        for weights in get_model_weights(name):
            preprocessing = preprocessing_of(weights)
            if preprocessing not in compared and preprocessing.crop[0] < 400:
                expected = weights.transforms()(image)
                assert torch.equal(evaluation_transform(preprocessing)(image), expected), weights
                compared.add(preprocessing)
    assert len(compared) > 20


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "test_vit", "mixer_b16_224"])
def test_timms_own_preprocessing_is_met(name: str, image: Image.Image) -> None:
    settings = resolve_data_config(model=timm.create_model(name))
    expected = create_transform(**settings)(image)
    result = evaluation_transform(build_backbone("timm", name, None).preprocessing)(image)
    assert torch.equal(result, expected)


def test_no_augmentation_is_exactly_the_evaluation(image: Image.Image) -> None:
    expected = evaluation_transform(SMALL)(image)
    assert torch.equal(training_transform(SMALL, Augmentation())(image), expected)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(min_scale=0.5),
        Augmentation(horizontal_flip=0.5),
        Augmentation(vertical_flip=0.5),
        Augmentation(colour_jitter=0.3),
        Augmentation(trivial_augment=True),
    ],
    ids=str,
)
def test_each_augmentation_varies_with_the_seed_alone(augmentation: Augmentation, image: Image.Image) -> None:
    transform = training_transform(SMALL, augmentation)
    result = [apply(transform, image, seed) for seed in (*range(8), *range(8))]
    assert all(torch.equal(a, b) for a, b in zip(result[:8], result[8:], strict=True))
    assert any(not torch.equal(result[0], other) for other in result[1:8])
    assert all(tensor.shape == (3, 32, 32) for tensor in result)


def test_a_seeded_image_leaves_torchs_generator_as_it_was(image: Image.Image) -> None:
    before = torch.get_rng_state()
    apply(training_transform(SMALL, Augmentation(min_scale=0.5)), image, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_narrowest_random_crop_still_has_the_pixels_it_needs() -> None:
    assert decoding_side(SMALL) == decoding_side(SMALL, Augmentation()) == 2 * 40
    augmentation = Augmentation(min_scale=0.25, max_aspect=2.0)
    side = decoding_side(SMALL, augmentation)
    narrowest = (side * side * 0.25 / 2.0) ** 0.5  # of a square image's area, twice as high as wide
    assert 2 * 32 <= narrowest < 2 * 32 + 1


def test_another_size_keeps_the_share_that_is_cropped() -> None:
    assert with_image_size(SMALL, 64) == Preprocessing(
        (80,), (64, 64), "bilinear", True, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
    )


def test_a_preprocessing_survives_a_checkpoint() -> None:
    assert Preprocessing.from_dict(SMALL.to_dict()) == SMALL
