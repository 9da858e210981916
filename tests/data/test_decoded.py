"""Decoded images in the cache: the same to the eye of evaluation, shared, and never stale or damaged."""

import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from graft.data import decoded
from graft.data.decoded import ImagesInMemory, Shrinking
from graft.data.images import AnyImage, open_rgb
from graft.data.module import ImageDataModule
from graft.data.transforms import Augmentation, evaluation_transform
from graft.errors import UserError
from graft.features.views import Views  # room: features
from graft.memory import available_memory
from graft.preprocessing import Preprocessing
from tests.conftest import make_data_module

SMALL = Preprocessing((36,), (32, 32), "bicubic", True, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
CROPS = Augmentation(min_scale=0.3, horizontal_flip=0.5)
MakeData = Callable[..., ImageDataModule]


def write_photos(folder: Path, count: int, seed: int) -> None:
    """Write images of smooth noise, wide, high, and one smaller than what is cached."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        size = [(240, 160), (120, 200), (30, 24)][number % 3]
        coarse = Image.fromarray(chance.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=95)


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    root = tmp_path / "photos"
    for seed, name in enumerate(("a", "b")):
        write_photos(root / name, 6, seed)

    def make(
        cache: str,
        workers: int = 0,
        preprocessing: Preprocessing = SMALL,
        augmentation: Augmentation = CROPS,
        limit_gb: float = 1,
    ) -> ImageDataModule:
        return make_data_module(
            root,
            preprocessing,
            augmentation,
            num_workers=workers,
            batch_size=3,
            cache=cache,
            cache_dir=str(tmp_path / "cache"),
            cache_limit_gb=limit_gb,
        )

    return make


def validation(data: ImageDataModule) -> Tensor:
    return torch.cat([images for images, _ in data.val_dataloader()])


def training(data: ImageDataModule) -> Tensor:
    return torch.cat([images for images, _ in data.train_dataloader()])


def decoded_image(data: ImageDataModule, split: str, number: int) -> Image.Image:
    image = data.decoded[split][number]
    assert isinstance(image, Image.Image)
    return image


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "images").glob("*/*.rgb"))


@pytest.mark.parametrize("resize", [(36,), (40, 34)])
def test_evaluation_is_the_same_to_the_last_bit(make_data: MakeData, resize: tuple[int, ...]) -> None:
    preprocessing = Preprocessing(resize, *list(vars(SMALL).values())[1:])
    expected = validation(make_data("none", preprocessing=preprocessing))
    for cache in ("ram", "disk"):
        data = make_data(cache, preprocessing=preprocessing)
        assert torch.equal(validation(data), expected)
        assert (
            max(max(decoded_image(data, "val", number).size) for number in range(2)) < 120
        )  # of at least 200
        tested = torch.cat([images for images, _ in data.test_dataloader()])
        plain = data.dataset("test", augmented=False)
        assert torch.equal(tested, torch.stack([plain[number, None][0] for number in range(len(plain))]))


def test_random_crops_come_out_of_an_image_of_at_least_1_15_crops(make_data: MakeData) -> None:
    data = make_data("ram")
    training(data)
    differences = []
    for number, sample in enumerate(data.images.samples["train"]):
        cached, whole = decoded_image(data, "train", number), open_rgb(data.images.root / sample.path)
        assert min(cached.size) == min(37, *whole.size)  # 1.15 * 32; small images stay as they are
        # The same third of the area out of both, as a random crop takes it.
        boxes = [(0.2 * w, 0.2 * h, 0.75 * w, 0.75 * h) for w, h in (cached.size, whole.size)]
        crops = [
            image.resize((32, 32), Image.Resampling.BICUBIC, box=box)
            for image, box in zip((cached, whole), boxes, strict=True)
        ]
        differences.append(np.abs(np.subtract(*[np.asarray(crop, np.float32) for crop in crops])).mean())
    assert 0 < max(differences) < 3  # of 256 grey values
    again = training(make_data("ram"))
    assert torch.equal(training(data), again)
    assert not torch.equal(training(make_data("none")), again)  # which crops the whole images


def test_without_random_crops_training_is_the_same_to_the_last_bit(make_data: MakeData) -> None:
    expected = training(make_data("none", augmentation=Augmentation(horizontal_flip=0.5)))
    assert torch.equal(training(make_data("ram", augmentation=Augmentation(horizontal_flip=0.5))), expected)


def test_workers_and_the_place_do_not_change_the_batches(make_data: MakeData) -> None:
    expected = training(make_data("ram"))
    for cache, workers in (("ram", 2), ("disk", 0), ("disk", 2)):
        assert torch.equal(training(make_data(cache, workers)), expected), (cache, workers)


def test_another_run_decodes_nothing(
    make_data: MakeData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = training(make_data("disk"))
    again = make_data("disk")
    for sample in again.images.samples["train"]:
        (again.images.root / sample.path).write_text("gone")
    before = [file.stat().st_mtime_ns for file in entries(tmp_path)]
    with caplog.at_level(logging.INFO):
        assert torch.equal(training(again), expected)
    assert "0 decoded" in caplog.text
    assert [file.stat().st_mtime_ns for file in entries(tmp_path)] == before


@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "removed"])
def test_a_damaged_image_is_made_anew(make_data: MakeData, tmp_path: Path, damage: str) -> None:
    expected = training(make_data("disk"))
    again = make_data("disk")
    loader = again.train_dataloader()
    file = entries(tmp_path)[0]
    whole = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        file.write_bytes({"truncated": whole[:-5], "emptied": b"", "flipped": flipped}[damage])
    assert torch.equal(torch.cat([images for images, _ in loader]), expected)
    assert file.read_bytes() == whole


def test_other_weights_find_none_of_it(make_data: MakeData, tmp_path: Path) -> None:
    validation(make_data("disk"))
    count = len(entries(tmp_path))
    bilinear = Preprocessing((36,), (32, 32), "bilinear", *list(vars(SMALL).values())[3:])
    data = make_data("disk", preprocessing=bilinear)
    validation(data)
    assert len(entries(tmp_path)) == 2 * count
    image = open_rgb(data.images.root / data.images.samples["val"][0].path, 72)
    assert torch.equal(validation(data)[0], evaluation_transform(bilinear)(image))


def fill(arguments: tuple[MakeData, Path]) -> None:
    """Read the training images once, and write down which of them this process decoded."""
    make, told = arguments
    count = 0
    shrink = Shrinking.__call__

    def counting(self: Shrinking, path: str) -> AnyImage:
        nonlocal count
        count += 1
        return shrink(self, path)

    Shrinking.__call__ = counting  # type: ignore[method-assign]
    training(make("disk"))
    told.write_text(str(count))


def test_two_processes_at_once_decode_every_image_once(make_data: MakeData, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    files = [tmp_path / "one", tmp_path / "two"]
    jobs = [fork.Process(target=fill, args=((make_data, file),)) for file in files]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0, 0]
    images = len(make_data("none").images.samples["train"])
    assert sum(int(file.read_text()) for file in files) == len(entries(tmp_path)) == images
    assert torch.equal(training(make_data("disk")), training(make_data("ram")))


def test_a_worker_gets_the_memory_and_no_copy(make_data: MakeData) -> None:
    data = make_data("ram")
    data.train_dataloader()
    cached = data.decoded["train"]
    assert isinstance(cached, ImagesInMemory)
    sent = bytes(ForkingPickler.dumps(cached))
    assert len(sent) < 1000 < len(decoded_image(data, "train", 0).tobytes())
    received = pickle.loads(sent)
    assert received[0] == cached[0]  # Pillow compares the pixels
    assert os.fstat(received.file.fileno()).st_ino == os.fstat(cached.file.fileno()).st_ino


def test_views_come_out_of_cached_images_once_needed(make_data: MakeData) -> None:  # room: features
    data = make_data("ram")  # room: features
    views, others = Views(data, "train", 3), Views(make_data("none"), "train", 3)  # room: features
    assert not data.decoded  # room: features
    views.keep_decoded(data)  # room: features
    cached = data.dataset("train", True, data.decoded["train"])  # room: features
    seed = int.from_bytes(views.keys[1].tobytes()[:8], "little") >> 2  # room: features
    assert torch.equal(views[1], cached[0, seed][0])  # room: features
    assert torch.equal(views[0], others[0])  # room: features
    is_shared = (views.keys == others.keys).reshape(-1, 3).all(axis=0).tolist()  # room: features
    assert is_shared == [True, False, False]  # room: features


def test_images_that_do_not_fit_into_memory_are_refused(
    make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "available_memory", lambda: 1000.0)
    with pytest.raises(UserError, match=r"data\.cache=ram: 8 images take about .* write data\.cache=disk"):
        make_data("ram").train_dataloader()


def test_the_memory_that_is_left_is_a_part_of_the_machines() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_memory() < whole


def test_a_folder_that_cannot_be_written_is_named(make_data: MakeData, tmp_path: Path) -> None:
    data = make_data("disk")
    (tmp_path / "cache" / "images").write_text("no folder")
    with pytest.raises(UserError, match=r"data\.cache=disk: .* write data\.cache=none"):
        data.train_dataloader()


def test_images_that_alone_exceed_the_limit_of_the_cache_are_refused(make_data: MakeData) -> None:
    with pytest.raises(UserError, match=r"8 images take about .* GB, and cache\.limit_gb=1e-05; raise it"):
        make_data("disk", limit_gb=1e-5).train_dataloader()
