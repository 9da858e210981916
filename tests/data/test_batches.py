"""Batches are functions of seed and epoch: not of workers, processes, or what came before."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graft.data.dataset import EpochSampler, EvaluationBatches, TrainingBatches
from graft.data.module import ImageDataModule, resolve_workers
from graft.data.transforms import Augmentation
from graft.errors import UserError
from graft.preprocessing import Preprocessing
from tests.conftest import make_data_module, write_images

SMALL = Preprocessing((20,), (16, 16), "bilinear", True, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
MakeData = Callable[..., ImageDataModule]


@pytest.fixture
def make_data(images: Path, tmp_path: Path) -> MakeData:
    def make(root: Path = images, **settings: object) -> ImageDataModule:
        held = {"batch_size": 4, "cache_dir": str(tmp_path / "cache")} | settings
        return make_data_module(root, SMALL, Augmentation(min_scale=0.3), **held)

    return make


def epoch(data: ImageDataModule, number: int = 0) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(number)  # type: ignore[union-attr]
    return [images for images, _ in loader]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_workers_do_not_change_the_batches(make_data: MakeData) -> None:
    assert same(epoch(make_data(num_workers=0)), epoch(make_data(num_workers=2)))


def test_each_epoch_differs_and_each_repeats(make_data: MakeData) -> None:
    data = make_data()
    assert same(epoch(data, 3), epoch(data, 3))
    assert not same(epoch(data, 3), epoch(data, 4))


def test_two_seeds_differ(make_data: MakeData) -> None:
    splits = [sample.path for sample in make_data(seed=1).images.samples["train"]]
    assert splits != [sample.path for sample in make_data(seed=2).images.samples["train"]]


def test_loading_leaves_torchs_generator_as_it_was(make_data: MakeData) -> None:
    before = torch.get_rng_state()
    epoch(make_data())
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_follow_the_sorted_class_names(make_data: MakeData) -> None:
    data = make_data()
    assert data.images.task.columns == ("dark", "light")
    for images, labels in data.val_dataloader():
        assert images.dtype == torch.float32
        means = images.mean(dim=(1, 2, 3))
        assert torch.equal(labels, (means > 0).long())


def test_a_split_that_lacks_a_class_keeps_the_labels_of_the_others(
    make_data: MakeData, tmp_path: Path
) -> None:
    root = tmp_path / "three"
    for split in ("train", "val", "test"):
        for shade, name in enumerate("abc"):
            if split == "train" or name != "a":
                write_images(root / split / name, 4, 60 + 60 * shade, seed=shade)
    data = make_data(root=root)
    assert data.images.task.columns == ("a", "b", "c")
    assert {int(label) for _, labels in data.val_dataloader() for label in labels} == {1, 2}


@pytest.mark.parametrize(("size", "processes"), [(10, 3), (9, 3), (1, 2)])
def test_processes_share_the_evaluation_without_doubles(size: int, processes: int) -> None:
    shares = [
        [i for batch in EvaluationBatches(size, 3, rank, processes) for i, _ in batch]
        for rank in range(processes)
    ]
    assert sorted(index for share in shares for index in share) == list(range(size))


def test_processes_share_the_training_evenly_and_leave_none_out() -> None:
    shares = [[i for i, _ in EpochSampler(10, seed=0, rank=rank, processes=3)] for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert {index for share in shares for index in share} == set(range(10))


@pytest.mark.parametrize(
    ("size", "batch_size", "expected"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1])],
)
def test_no_training_image_is_dropped_and_none_stands_alone(
    size: int, batch_size: int, expected: list[int]
) -> None:
    batches = TrainingBatches(EpochSampler(size, seed=0), batch_size)
    held = list(batches)
    assert [len(batch) for batch in held] == expected
    assert len(batches) == len(expected)
    assert {index for batch in held for index, _ in batch} == set(range(size))


def test_an_image_that_goes_bad_during_training_stops_it(make_data: MakeData) -> None:
    data = make_data()
    (data.images.root / data.images.samples["train"][0].path).write_text("gone bad", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read any more"):
        epoch(data)


def test_a_workers_mistake_arrives_as_its_own_line(make_data: MakeData) -> None:
    data = make_data(num_workers=1)
    path = data.images.root / data.images.samples["train"][0].path
    path.write_text("gone bad", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        epoch(data)
    assert str(caught.value).startswith(f"{path} cannot be read any more")
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(("names", "gone"), [(["dark"], "class dark"), (["dark", "light"], "split val")])
def test_what_vanishes_by_skipping_is_refused(
    make_data: MakeData, images: Path, names: list[str], gone: str
) -> None:
    if gone == "split val":
        for name in names:
            (images / "train").mkdir(exist_ok=True)
            (images / name).rename(images / "train" / name)
            (images / "val" / name).mkdir(parents=True)
            (images / "val" / name / "bad.jpg").write_text("no image", encoding="utf-8")
    else:
        for image in (images / "dark").iterdir():
            image.write_text("no image", encoding="utf-8")
    with pytest.raises(UserError, match=f"data.on_error=skip leaves nothing of {gone}:"):
        make_data(on_error="skip")


def test_a_splits_file_whose_classes_do_not_fit_is_refused(make_data: MakeData, tmp_path: Path) -> None:
    rows = ["path,target,split", "dark/000.jpg,dark,train", "light/000.jpg,light,val"]
    rows += ["dark/001.jpg,dark,test"]
    (tmp_path / "splits.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(UserError, match=r"splits\.csv has one class only in train \(dark\)"):
        make_data(splits=str(tmp_path / "splits.csv"))


def test_a_splits_file_may_name_an_image_that_is_skipped(
    make_data: MakeData, images: Path, tmp_path: Path
) -> None:
    make_data().images.write_splits(tmp_path / "splits.csv")
    (images / "dark" / "000.jpg").write_text("no image", encoding="utf-8")
    data = make_data(splits=str(tmp_path / "splits.csv"), on_error="skip")
    assert sum(map(len, data.images.samples.values())) == 23


def test_skipped_images_are_in_no_split(make_data: MakeData, images: Path) -> None:
    (images / "dark" / "000.jpg").write_text("no image", encoding="utf-8")
    data = make_data(on_error="skip")
    assert sum(map(len, data.images.samples.values())) == 23
    assert all(s.path != "dark/000.jpg" for samples in data.images.samples.values() for s in samples)


def test_workers_fit_the_processors_that_are_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert resolve_workers(10_000) == 2


def test_workers_fit_the_machine() -> None:
    assert resolve_workers(10) == 0
    assert resolve_workers(10_000) >= 1


def test_balanced_sampling_draws_small_classes_as_often_as_large_ones() -> None:
    shares = [1 / 900] * 900 + [1 / 100] * 100
    drawn = [index for index, _ in EpochSampler(1000, seed=0, shares=shares)]
    assert len(drawn) == 1000
    assert sum(index >= 900 for index in drawn) == pytest.approx(500, abs=60)
    seeds = [seed for index, seed in EpochSampler(1000, seed=0, shares=shares) if index >= 900]
    assert len(set(seeds)) == len(seeds)
