# room: reporting
"""The pages of several labels per image and of numbers, and what figures and thumbnails show of them."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, mean_absolute_error, precision_score, r2_score, recall_score

from graft.finished_run import FinishedRun
from graft.inference.explanation import Overlays
from graft.reporting.report.images import thumbnail
from graft.reporting.report.run import write_run_report
from graft.reporting.report.tested import least_certain, outcome_of, ranked_mistakes
from tests.conftest import task_of
from tests.reporting.conftest import MakeRecord
from tests.reporting.report.test_run import percent, table_row

LABELS = ("a", "b", "c")


def page_of(run: FinishedRun) -> str:
    file = run.folder / "page.html"
    write_run_report(file, run, Overlays(run.checkpoint))
    return file.read_text(encoding="utf-8")


def section(page: str, first: str, last: str) -> str:
    return page[page.index(first) : page.index(last)]


@pytest.fixture
def labelled(make_record: MakeRecord) -> FinishedRun:
    """A run of three labels; the images have 0, 1, 2 or 3 of them."""
    chance = torch.Generator().manual_seed(0)
    is_true = torch.randint(2, (24, 3), generator=chance)
    is_true[0] = 0
    targets = [tuple(name for name, one in zip(LABELS, row, strict=True) if one) for row in is_true.tolist()]
    task = task_of("multilabel", LABELS, thresholds=(0.5, 0.3, 0.6))
    logits = 2 * torch.randn(24, 3, generator=chance) + 2 * is_true - 1
    metrics = {"best_epoch": 1, "epoch": 2, "seconds": 1, "parameters/total": 9}
    thresholds = {"threshold/a": 0.5, "threshold/b": 0.3, "threshold/c": 0.6}
    return make_record(task, targets, logits, metrics=metrics | thresholds)


def test_the_page_of_labels_says_what_scikit_learn_makes_of_them(labelled: FinishedRun) -> None:
    page = page_of(labelled)
    true = labelled.targets.numpy()
    predicted = (labelled.logits.sigmoid() >= torch.tensor([0.5, 0.3, 0.6])).long().numpy()
    assert float(table_row(page, "F1 (macro)")[0]) == pytest.approx(
        f1_score(true, predicted, average="macro"), abs=5e-5
    )
    exact = (true == predicted).all(axis=1).mean()
    assert float(table_row(page, "exact match")[0]) == pytest.approx(exact, abs=5e-5)
    assert re.search(r"0\.\d{4} to 0\.\d{4}", table_row(page, "F1 (micro)")[1])
    rows = section(page, "<h3>Labels</h3>", "<h2>Images to look at")
    for index, name in enumerate(LABELS):
        images, precision, recall, f1 = table_row(rows, name)
        column = true[:, index], predicted[:, index]
        assert int(images) == true[:, index].sum()
        assert precision.split(" (")[0] == percent(precision_score(*column))
        assert recall.split(" (")[0] == percent(recall_score(*column))
        assert f1 == percent(f1_score(*column))
    assert table_row(page, "thresholds") == ["a 0.5, b 0.3, c 0.6"]
    assert "3 labels: a, b, c" in page
    for absent in ("Confusion matrix", "Reliability", "Least certain", "largest class", "multiclass"):
        assert absent not in page


def test_images_with_the_most_wrong_labels_come_first(labelled: FinishedRun) -> None:
    predicted = labelled.logits.sigmoid() >= torch.tensor([0.5, 0.3, 0.6])
    wrong = (predicted != labelled.targets.bool()).sum(dim=1)
    tested = outcome_of(labelled, Overlays(labelled.checkpoint))
    found = wrong[ranked_mistakes(tested)].tolist()
    assert found == sorted(wrong.tolist(), reverse=True)[:8]
    cards = section(page_of(labelled), "<h3>Images with the most wrong labels</h3>", "<h2>What to try next")
    assert cards.count('class="card"') == 8
    assert re.search(r"true <b>[abc;]+</b>", cards)


@pytest.fixture
def measured(make_record: MakeRecord) -> FinishedRun:
    """A run of two numbers."""
    chance = np.random.default_rng(0)
    true = chance.uniform(10, 20, size=(30, 2)).round(2)
    task = task_of("regression", ("age", "$m^2$"), mean=(15.0, 15.0), std=(3.0, 3.0))
    logits = torch.from_numpy((true + chance.normal(size=true.shape) - 15) / 3).float()
    return make_record(task, [tuple(map(str, row)) for row in true.tolist()], logits)


def test_the_page_of_numbers_says_what_scikit_learn_makes_of_them(measured: FinishedRun) -> None:
    page = page_of(measured)
    true, predicted = measured.targets.numpy(), measured.task.predict(measured.logits).numpy()
    error = mean_absolute_error(true, predicted)
    value, interval = table_row(page, "MAE")
    assert float(value) == pytest.approx(error, abs=1e-4)
    low, high = map(float, interval.split(" to "))
    assert low < error < high
    assert float(table_row(page, "R²")[0]) == pytest.approx(r2_score(true, predicted), abs=1e-4)
    assert f"<strong>{value}</strong>" in page
    assert table_row(page, "age") == [f"{true[:, 0].min():g} to {true[:, 0].max():g}"] * 3
    for title in ("age: predicted against true", "age: errors", "$m^2$: errors", "age, from low to high"):
        assert f"<h3>{title}</h3>" in page
    assert page.count("<svg") == 1 + 2 * 2  # the loss by epoch, and two figures for each number
    for absent in ("Confusion matrix", "Reliability", "<h3>Classes", "classes", "Wilson", "Least certain"):
        assert absent not in page


def test_the_largest_errors_come_first(measured: FinishedRun) -> None:
    cards = section(page_of(measured), "<h3>Largest errors</h3>", "<h2>What to try next")
    errors = (measured.task.predict(measured.logits) - measured.targets).square().sum(dim=1)
    order = errors.argsort(descending=True)[:8].tolist()
    assert re.findall(r'<div class="path">(\d+)\.png', cards) == [str(index) for index in order]
    assert f"true <b>{';'.join(measured.tested[order[0]].target)}</b>" in cards


def test_the_page_of_one_number(make_record: MakeRecord) -> None:
    task = task_of("regression", ("age",), mean=(0.0,), std=(1.0,))
    values = torch.arange(12.0)[:, None]
    page = page_of(make_record(task, [(str(float(value)),) for value in values], values))
    assert "1 target: age" in page
    assert "None: every image is predicted correctly." in page


def test_mistakes_are_ordered_by_confidence_and_the_uncertain_by_its_lack(make_record: MakeRecord) -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]])
    targets = [("dark",), ("light",), ("dark",), ("light",)]
    run = make_record(task_of("multiclass", ("dark", "light")), targets, probabilities.log())
    tested = outcome_of(run, Overlays(run.checkpoint))
    assert ranked_mistakes(tested) == [2, 1]
    assert least_certain(tested) == [3, 1, 2, 0]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_any_number_of_bands_have_thumbnails(make_record: MakeRecord, channels: int) -> None:
    task = task_of("multiclass", ("a", "b"))
    run = make_record(task, [("a",), ("b",)] * 6, torch.randn(12, 2), channels=channels)
    uri = thumbnail(run.root / run.tested[7].path, run.preprocessing)
    with Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (40, 40)
        grey = 7 if channels <= 3 else 0  # More bands are stretched, and this image has one value.
        assert image.getpixel((20, 20)) == pytest.approx((grey, grey, grey), abs=2)
    page = page_of(run)
    assert "cannot be read" not in page
    assert f"32x32 pixels, {channels} channels" in page


def test_a_thumbnail_of_five_bands_shows_the_first_three_stretched(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    run = make_record(task_of("multiclass", ("a", "b")), [("a",), ("b",)], torch.zeros(2, 2), channels=5)
    bands = np.zeros((40, 40, 5), dtype=np.uint8)
    bands[:] = (250, 10, 120, 255, 255)
    np.save(tmp_path / "colours.npy", bands)
    uri = thumbnail(tmp_path / "colours.npy", run.preprocessing)
    with Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.getpixel((20, 20)) == pytest.approx((255, 0, 117), abs=4)
