"""How images of any shape come to the network's, and transforms of images with any number of channels."""

import pickle
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from graft.data.cache_folders import Cache
from graft.data.decoded import DecodedImages, ImagesInMemory, ImagesOnDisk, Shrinking, decoding_side
from graft.data.images import AnyImage, read_image
from graft.data.resizing import FitWhole, with_fit, with_image_size
from graft.data.sample import Sample
from graft.data.transforms import (
    Augmentation,
    apply,
    augmentation_key,
    evaluation_crop,
    evaluation_transform,
    normalisation,
    training_transform,
)
from graft.errors import UserError
from graft.preprocessing import Preprocessing

RGB = Preprocessing((40,), (32, 32), "bicubic", True, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
BANDS = Preprocessing((40,), (32, 32), "bicubic", True, (0.4,) * 13, (0.2,) * 13)
FITS = ["crop", "pad", "squash"]
BLUR = {"_target_": "torchvision.transforms.v2.GaussianBlur", "kernel_size": 5}
JITTER = {"_target_": "torchvision.transforms.v2.ColorJitter"}
CROP = {"_target_": "torchvision.transforms.v2.CenterCrop"}
ERASING = {"_target_": "torchvision.transforms.v2.RandomErasing", "p": 1.0}


def grey_with_mark(size: tuple[int, int]) -> Image.Image:
    """A dark image whose left rim is white."""
    image = Image.new("RGB", size, (20, 20, 20))
    image.paste((255, 255, 255), (0, 0, size[0] // 8, size[1]))
    return image


def tensor_of(image: Image.Image, channels: int = 13) -> torch.Tensor:
    grey = functional.pil_to_tensor(image.convert("L")) / 255
    return grey.expand(channels, -1, -1).contiguous()


@pytest.mark.parametrize(("fit", "survives"), [("crop", False), ("pad", True), ("squash", True)])
@pytest.mark.parametrize("size", [(160, 60), (24, 9), (3000, 100)])
def test_a_mark_at_the_rim_survives_where_the_whole_image_is_seen(
    fit: str, survives: bool, size: tuple[int, int]
) -> None:
    image = grey_with_mark(size)
    for preprocessing, seen in ((RGB, image), (BANDS, tensor_of(image))):
        crop = evaluation_crop(with_fit(preprocessing, fit))(seen)
        assert crop.shape == (preprocessing.channels, 32, 32)
        assert (
            bool(crop.max() > 0.8 * crop.dtype.is_floating_point + 200 * (crop.dtype == torch.uint8))
            == survives
        )


@pytest.mark.parametrize(
    ("size", "side"), [((30, 30), 30), ((40, 20), 40), ((64, 64), 64), ((300, 200), 64), ((20, 1), 20)]
)
@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_a_whole_image_is_made_smaller_for_random_crops_but_never_larger(
    fit: str, size: tuple[int, int], side: int
) -> None:
    whole = FitWhole(with_fit(RGB, fit), (64, 64))(grey_with_mark(size))
    assert functional.get_size(whole) == [side, side]
    if size == (30, 30):
        assert torch.equal(functional.pil_to_tensor(whole), functional.pil_to_tensor(grey_with_mark(size)))


def test_padding_is_symmetric_and_has_the_mean_colour() -> None:
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    padded = evaluation_crop(with_fit(RGB, "pad"))(image)
    assert (padded[:, 8:24] == torch.tensor([255, 0, 0])[:, None, None]).all()
    for rows in (padded[:, :8], padded[:, 24:]):
        assert (rows == torch.tensor([128, 102, 76])[:, None, None]).all()
    bands = evaluation_transform(with_fit(BANDS, "pad"))(torch.ones(13, 32, 64))
    assert bands[:, :8].abs().max() < 1e-6  # which is the mean, normalised
    assert bands[:, 8:24].min() > 2.9


@pytest.mark.parametrize("fit", FITS)
def test_another_size_or_fit_comes_in_any_order(fit: str) -> None:
    changed = with_fit(with_image_size(RGB, 64), fit)
    assert changed == with_image_size(with_fit(RGB, fit), 64)
    assert with_fit(changed, fit) is changed
    assert Preprocessing.from_dict(changed.to_dict()) == changed
    assert evaluation_crop(changed)(Image.new("RGB", (50, 90))).shape == (3, 64, 64)


def test_the_middle_of_images_that_were_padded_can_be_taken_again() -> None:
    assert with_fit(with_fit(RGB, "pad"), "crop").resize == (32,)


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_random_crops_come_out_of_the_whole_image(fit: str) -> None:
    image = grey_with_mark((400, 100))
    for preprocessing, seen in ((RGB, image), (BANDS, tensor_of(image))):
        transform = training_transform(with_fit(preprocessing, fit), Augmentation(min_scale=0.5))
        outputs = [apply(transform, seen, seed) for seed in range(20)]
        assert all(output.shape == (preprocessing.channels, 32, 32) for output in outputs)
        brightest = [output.max().item() for output in outputs]
        assert max(brightest) > 2
        sizes = [(output > 1).sum().item() for output in outputs]
        assert len(set(sizes)) > 5


@pytest.mark.parametrize("fit", FITS)
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path: Path, fit: str) -> None:
    chance = np.random.default_rng(0)
    coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), np.uint8))
    coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    grey = replace(RGB, mean=(0.5,), std=(0.2,))
    for preprocessing, white in ((with_fit(RGB, fit), 255), (with_fit(grey, fit), 1)):
        crop = evaluation_crop(preprocessing)
        sides = (decoding_side(preprocessing), None)
        reduced, whole = (read_image(tmp_path / "a.jpg", preprocessing.channels, side) for side in sides)
        assert min(functional.get_size(reduced)) < 200 < min(functional.get_size(whole))
        assert (crop(reduced).float() - crop(whole).float()).abs().mean() < 0.01 * white


def write_images(folder: Path, channels: int) -> list[Sample]:
    """Write wide, high, small and very long images."""
    chance = np.random.default_rng(0)
    sizes = [(240, 160), (120, 200), (30, 24), (4000, 60), (50, 3001)]
    for number, (width, height) in enumerate(sizes):
        array = chance.integers(0, 256, (height, width, channels), np.uint8)
        if channels == 3:
            Image.fromarray(array).save(folder / f"{number}.img", format="PNG")
        else:
            np.save((folder / f"{number}.img").open("wb"), array)
    return [Sample(f"{number}.img", ("a",), digest=f"{channels}-{number}") for number in range(len(sizes))]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("of_weights", [RGB, BANDS], ids=["rgb", "bands"])
def test_evaluation_from_decoded_images_is_the_same_to_the_last_bit(
    tmp_path: Path, fit: str, of_weights: Preprocessing
) -> None:
    samples = write_images(tmp_path, of_weights.channels)
    preprocessing = with_fit(of_weights, fit)
    transform = evaluation_transform(preprocessing)
    shrink = Shrinking(preprocessing)
    in_memory = ImagesInMemory(tmp_path, samples, shrink)
    stored = [ImagesOnDisk(tmp_path, samples, shrink, Cache(tmp_path / "cache", 1)) for _ in range(2)]
    received: ImagesInMemory = pickle.loads(ForkingPickler.dumps(in_memory))
    for number, sample in enumerate(samples):
        image: AnyImage = read_image(tmp_path / sample.path, of_weights.channels)
        expected = transform(image)
        of_all: tuple[DecodedImages, ...] = (in_memory, received, *stored)
        for images in of_all:
            assert torch.equal(transform(images[number]), expected), (number, type(images))
            assert max(functional.get_size(images[number])) <= 640


def test_a_damaged_file_of_bands_is_decoded_anew(tmp_path: Path) -> None:
    samples = write_images(tmp_path, 13)
    images = ImagesOnDisk(tmp_path, samples, Shrinking(BANDS), Cache(tmp_path / "cache", 1))
    first = images[0]
    assert isinstance(first, torch.Tensor)
    file = next((tmp_path / "cache" / "images").glob("*/13-0.rgb"))
    whole = file.read_bytes()
    for damaged in (
        whole[:-5],
        b"",
        whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        b"graft-p1" + whole[8:],
    ):
        file.write_bytes(damaged)
        again = images[0]
        assert isinstance(again, torch.Tensor)
        assert torch.equal(again, first)
        assert file.read_bytes() == whole


def test_no_augmentation_of_bands_is_exactly_the_evaluation() -> None:
    image = torch.rand(13, 60, 80)
    expected = evaluation_transform(BANDS)(image)
    assert torch.equal(training_transform(BANDS, Augmentation())(image), expected)
    crop = evaluation_crop(BANDS)(image)
    assert crop.dtype == torch.float32
    assert 0 <= crop.min() < crop.max() <= 1
    assert torch.equal(normalisation(BANDS)(crop), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "lanczos", "hamming", "random"])
def test_every_interpolation_has_one_for_bands(interpolation: str) -> None:
    preprocessing = Preprocessing((40,), (32, 32), interpolation, True, (0.5,) * 4, (0.2,) * 4)
    for transform in (evaluation_crop(preprocessing), training_transform(preprocessing, Augmentation(0.5))):
        assert transform(torch.rand(4, 60, 80)).shape == (4, 32, 32)


@pytest.mark.parametrize("preprocessing", [RGB, BANDS], ids=["rgb", "bands"])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(min_scale=0.5),
        Augmentation(horizontal_flip=0.5),
        Augmentation(vertical_flip=0.5),
        Augmentation(transforms={"blur": BLUR}),
        Augmentation(transforms={"blur": BLUR, "erasing": ERASING}),
    ],
    ids=str,
)
def test_augmentations_vary_with_the_seed_alone(
    augmentation: Augmentation, preprocessing: Preprocessing
) -> None:
    assert augmentation.varies
    array = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    image = Image.fromarray(array)
    transform = training_transform(preprocessing, augmentation)
    seen = image if preprocessing.channels == 3 else tensor_of(image)
    outputs = [apply(transform, seen, seed) for seed in (*range(8), *range(8))]
    assert all(torch.equal(a, b) for a, b in zip(outputs[:8], outputs[8:], strict=True))
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:8])
    pickle.dumps(transform)  # for spawned workers


@pytest.mark.parametrize("settings", [{"colour_jitter": 0.2}, {"trivial_augment": True}])
def test_augmentations_of_colour_are_refused_for_bands(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"augmentation.{next(iter(settings))} needs RGB images"):
        training_transform(BANDS, Augmentation(**settings))


class Silent(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise AssertionError


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"_target_": f"{__name__}.Silent"}, r"does not take images of 13 channels \(AssertionError\)"),
        ({**JITTER, "saturation": 0.5}, "does not take images of 13 channels"),
        ({**CROP, "size": 8}, r"changes the shape of an image from .* to \[13, 8, 8\]"),
        ({"_target_": "torchvision.transforms.v2.GaussianBlur"}, "cannot be built"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(entry: dict[str, Any], message: str) -> None:
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=rf"^augmentation\.transforms\.mine {message}"):
        training_transform(BANDS, Augmentation(transforms={"mine": entry}))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_key_of_augmented_views_depends_on_the_entries_where_there_are_some() -> None:
    assert augmentation_key(Augmentation(max_aspect=1.5)) == (
        '{"min_scale": 1.0, "max_aspect": 1.5, "horizontal_flip": 0.0, "vertical_flip": 0.0, '
        '"colour_jitter": 0.0, "trivial_augment": false}'
    )
    assert '"kernel_size": 5' in augmentation_key(Augmentation(transforms={"blur": BLUR}))


def test_random_crops_of_cached_strips_still_come_out_of_the_whole_strip(tmp_path: Path) -> None:
    samples = write_images(tmp_path, 3)
    augmentation = Augmentation(min_scale=0.3)
    wide = replace(RGB, resize=(60,))  # more than what random crops need
    images = ImagesInMemory(tmp_path, samples, Shrinking(wide, augmentation))
    assert functional.get_size(images[3]) == [60, 4000]
    transform = training_transform(wide, augmentation)
    expected = read_image(tmp_path / samples[3].path)
    assert torch.equal(apply(transform, images[3], 7), apply(transform, expected, 7))
