"""Splits that are made: exact, stratified, seeded; and splits that are taken back."""

import logging
from collections import Counter
from pathlib import Path

import pytest

from graft.data.sample import SPLITS, Sample
from graft.data.sources.elpv import read_labels
from graft.data.splits import (
    check_splits,
    limit_splits,
    make_missing_splits,
    refuse_empty_splits,
    warn_of_shared_groups,
)
from graft.data.splits_file import read_splits, write_splits
from graft.errors import UserError
from tests.conftest import make_sample, task_of

FRACTIONS = {"val": 0.15, "test": 0.25}


def samples(**counts: int) -> list[Sample]:
    return [make_sample(f"{name}/{i:03d}.jpg", name) for name, count in counts.items() for i in range(count)]


def sizes(found: list[Sample]) -> Counter[str | None]:
    return Counter(sample.split for sample in found)


def test_elpv_is_split_as_in_its_paper() -> None:
    cells = [
        make_sample(
            f"{'defective' if p > 0.5 else 'functional'}/{f.name}", str(p > 0.5), stratify_value=wafer
        )
        for f, p, wafer in read_labels()
    ]
    found = make_missing_splits(cells, FRACTIONS, seed=0)
    assert sizes(found) == {"train": 1574, "val": 394, "test": 656}
    strata = Counter((s.target[0], s.stratify_value) for s in cells)
    tested = Counter((s.target[0], s.stratify_value) for s in found if s.split == "test")
    for stratum, count in strata.items():
        assert abs(tested[stratum] - count / 4) < 1


def test_a_split_depends_on_the_seed_but_not_on_the_order_of_the_images() -> None:
    held = samples(a=40, b=20)
    first = make_missing_splits(held, FRACTIONS, seed=1)
    assert first == make_missing_splits(held[::-1], FRACTIONS, seed=1)
    assert first != make_missing_splits(held, FRACTIONS, seed=2)


def test_given_splits_are_kept_and_the_missing_one_is_made_from_train() -> None:
    held = [make_sample(f"train/a/{i}.jpg", "a", "train") for i in range(20)]
    held += [make_sample(f"train/b/{i}.jpg", "b", "train") for i in range(20)]
    held += [make_sample("test/a/0.jpg", "a", "test"), make_sample("test/b/0.jpg", "b", "test")]
    found = make_missing_splits(held, {"val": 0.25, "test": 0.5}, seed=0)
    assert sizes(found) == {"train": 30, "val": 10, "test": 2}


def test_every_class_is_in_every_split_however_small_the_fraction() -> None:
    found = make_missing_splits(samples(a=200, rare=3), {"val": 0.05, "test": 0.05}, seed=0)
    assert {s.split for s in found if s.target[0] == "rare"} == {"train", "val", "test"}


def test_a_class_too_small_is_named_with_what_is_needed() -> None:
    with pytest.raises(UserError, match="class rare has 2 images, but 3 are needed"):
        make_missing_splits(samples(a=20, rare=2), FRACTIONS, seed=0)


def test_images_of_one_unit_stay_together() -> None:
    held = [
        make_sample(f"{name}/{unit}-{i}.jpg", name, group=f"{name}{unit}")
        for name in ("a", "b")
        for unit in range(20)
        for i in range(1 + unit % 4)
    ]
    found = make_missing_splits(held, FRACTIONS, seed=3)
    splits_of = {unit: {s.split for s in found if s.group == unit} for unit in {s.group for s in found}}
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert sizes(found)["test"] == pytest.approx(0.25 * len(held), abs=6)


def test_a_unit_of_two_classes_is_not_torn() -> None:
    held = [make_sample(f"{c}/{u}.jpg", c, group=str(u)) for u in range(20) for c in ("a", "b")]
    found = make_missing_splits(held, FRACTIONS, seed=0)
    assert all(len({s.split for s in found if s.group == str(u)}) == 1 for u in range(20))


@pytest.mark.parametrize("group", ["", "one patient"])
def test_groups_are_only_blamed_where_there_are_some(group: str) -> None:
    held = [make_sample(f"b/{i}.jpg", "b", group=group and f"b{i}") for i in range(9)]
    held += [make_sample(f"a/{i}.jpg", "a", group=group) for i in range(9)]
    if group:
        with pytest.raises(UserError, match=r"class a has no image in .*data\.keep_together"):
            make_missing_splits(held, FRACTIONS, seed=0)
    else:
        assert len(make_missing_splits(held, FRACTIONS, seed=0)) == 18


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ("train/a val/a test/a", r"one class only in train \(a\)"),
        ("train/a train/b val/a val/c test/a", r"val has classes that train lacks \(c\)"),
    ],
)
def test_splits_that_cannot_be_trained_on_are_refused(held: str, message: str) -> None:
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for name in held.split():
        split, class_name = name.split("/")
        splits[split].append(make_sample(name, class_name, split))
    task = task_of("multiclass", ()).fitted([sample.target for sample in splits["train"]], ())
    with pytest.raises(UserError, match=message):
        check_splits(splits, task, "SOURCE")


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(UserError, match="SOURCE has no images in test"):
        refuse_empty_splits({"train": samples(a=1), "val": samples(a=1), "test": []}, "SOURCE")


def test_a_splits_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match=r"splits\.csv cannot be read as a table"):
        read_splits(tmp_path / "splits.csv", samples(a=3, b=3))


def test_a_limit_keeps_every_class_and_no_more_than_asked_for() -> None:
    found = make_missing_splits(samples(a=100, b=100, rare=4), FRACTIONS, seed=0)
    limited = limit_splits(found, 6, seed=0)
    assert max(sizes(limited).values()) <= 6
    for split in ("train", "val", "test"):
        assert {s.target[0] for s in limited if s.split == split} == {"a", "b", "rare"}
    assert limited == limit_splits(found, 6, seed=0)
    with pytest.raises(UserError, match=r"data\.limit=2"):
        limit_splits(found, 2, seed=0)


def test_a_splits_file_gives_back_what_was_written(tmp_path: Path) -> None:
    held = samples(a=20, b=20)
    found = make_missing_splits(held, FRACTIONS, seed=0)
    write_splits(found, tmp_path / "splits.csv")
    assert read_splits(tmp_path / "splits.csv", held) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\n", "needs the columns"),
        ("path,target,split\na/000.jpg,a,train\na/000.jpg,a,val\n", "1 images named twice"),
        ("path,target,split\nc/9.jpg,c,train\n", "1 images not in the data folder"),
        ("path,target,split\na/000.jpg,a,trian\n", "1 images in no known split"),
        ("path,target,split\na/000.jpg,b,train\n", "1 images of another class"),
        ("path,target,split\na/000.jpg,a\n", "1 images in no known split"),
    ],
)
def test_a_splits_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "splits.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_splits(tmp_path / "splits.csv", samples(a=3, b=3))


def test_a_few_patients_with_both_classes_are_split_by_patient() -> None:
    held = [
        make_sample(f"{c}/{u}-{i}.jpg", c, group=f"p{u}") for u in range(3) for c in "ab" for i in range(4)
    ]
    for seed in range(5):
        found = make_missing_splits(held, FRACTIONS, seed=seed)
        assert len(found) == len(held)
        patients = {split: {s.group for s in found if s.split == split} for split in ("train", "val", "test")}
        assert sorted(len(of_split) for of_split in patients.values()) == [1, 1, 1]
        assert found == make_missing_splits(held, FRACTIONS, seed=seed)


def test_patients_of_uneven_classes_are_split_so_that_every_class_is_everywhere() -> None:
    held = [
        make_sample(f"{c}/{u}-{i}.jpg", c, group=f"p{u}")
        for u in range(6)
        for c in ("common", "rare")
        for i in range(8 if c == "common" else int(u < 3))
    ]
    found = make_missing_splits(held, FRACTIONS, seed=1)
    for split in ("train", "val", "test"):
        assert {s.target[0] for s in found if s.split == split} == {"common", "rare"}


def test_two_patients_cannot_make_three_splits() -> None:
    held = [
        make_sample(f"{c}/{u}-{i}.jpg", c, group=f"p{u}") for u in range(2) for c in "ab" for i in range(4)
    ]
    with pytest.raises(UserError, match="too few groups"):
        make_missing_splits(held, FRACTIONS, seed=0)


def test_patients_of_numbers_are_split_though_no_quantile_is_everywhere() -> None:
    held = [
        Sample(f"{u:02d}-{i}.jpg", (str(u),), None, stratum=str(u // 2), group=f"p{u}")
        for u in range(20)
        for i in range(10)
    ]
    with pytest.raises(UserError, match="too few groups"):
        make_missing_splits(held, FRACTIONS, seed=0)
    found = make_missing_splits(held, FRACTIONS, seed=0, needs_every_stratum=False)
    assert set(sizes(found)) == set(SPLITS)
    patients = [{s.group for s in found if s.split == split} for split in SPLITS]
    assert sum(map(len, patients)) == 20
    assert {s.stratum for s in found} == {s.stratum for s in held}


def test_a_limit_below_the_number_of_quantiles_is_kept() -> None:
    found = make_missing_splits(samples(a=100, b=100, c=100), FRACTIONS, seed=0)
    limited = limit_splits(found, 2, seed=0, needs_every_stratum=False)
    assert sizes(limited) == dict.fromkeys(SPLITS, 2)


def test_a_patient_in_several_given_splits_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    by_split = {
        "train": [make_sample("0.jpg", "a", group="p1"), make_sample("1.jpg", "a")],
        "val": [make_sample("2.jpg", "a", group="p2"), make_sample("3.jpg", "a")],
        "test": [make_sample("4.jpg", "a", group="p1")],
    }
    with caplog.at_level(logging.WARNING):
        warn_of_shared_groups(by_split)
    assert "1 of 2 groups are in several splits (p1 in train and test)" in caplog.text
    caplog.clear()
    warn_of_shared_groups(by_split | {"test": []})
    assert not caplog.text
