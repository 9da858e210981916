# room: reporting
"""Two runs are compared image by image, and only on the same images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import average_precision_score, balanced_accuracy_score, mean_absolute_error
from torch import Tensor

from graft.reporting.comparison import compare, mcnemar, read_tested
from graft.tasks import Target
from graft.tasks.prediction_table import write_labelled_predictions
from graft.tasks.task import Task
from tests.conftest import Command, task_of


def write_run(folder: Path, task: Task, targets: Sequence[Target], values: Tensor, paths: str = "") -> Path:
    """Write the predictions of a run, in the order of the targets or, with `paths`, of these letters."""
    folder.mkdir(exist_ok=True)
    names = [f"{number:03d}.png" for number in range(len(targets))] if not paths else list(paths)
    write_labelled_predictions(folder / "predictions.csv", names, targets, task, values)
    return folder


def row_of(text: str, metric: str) -> list[float]:
    """The numbers of a metric's row: both runs, difference, low and high."""
    (row,) = [line for line in text.splitlines() if line.startswith(metric)]
    return [float(word) for word in row.removeprefix(metric).replace("to", "").split()]


def test_better_predictions_are_told_from_chance(tmp_path: Path) -> None:
    task, chance = task_of("multiclass", ("cat", "dog")), torch.Generator().manual_seed(0)
    labels = torch.arange(100) % 2
    targets = [(task.columns[label],) for label in labels.tolist()]
    right = torch.nn.functional.one_hot(labels, 2).float()
    noise = torch.randn(100, 2, generator=chance)
    runs = [write_run(tmp_path / str(n), task, targets, (right + n * noise).softmax(1)) for n in (1, 0, 1.1)]
    text = compare(runs[0], runs[1])
    predicted = (right + noise).argmax(dim=1)
    first, second, difference, low, high = row_of(text, "balanced accuracy")
    assert (first, second) == (pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-4), 1)
    assert 0 < low < difference < high
    assert "the difference is more than chance (exact McNemar test" in text
    text = compare(runs[0], runs[2])
    assert "the difference may be chance" in text
    _, _, difference, low, high = row_of(text, "accuracy")
    assert low <= difference <= high


def test_mcnemar_counts_what_one_run_alone_gets_right() -> None:
    first = np.array([True] * 12 + [False] * 88)
    second = np.array([False] * 12 + [True] * 30 + [False] * 58)
    text = mcnemar(first, second)
    assert text.startswith("30 images are right in the second run only, 12 in the first only")
    assert f"p = {2 * binom.cdf(12, 42, 0.5):.2g}" in text
    assert "p = 1)" in mcnemar(first, first)


def test_labels_and_numbers_are_compared_by_their_own_metrics(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(0)
    true = torch.randint(2, (40, 2), generator=chance)
    probabilities = [(true + torch.randn(40, 2, generator=chance)).sigmoid() for _ in range(2)]
    labels = task_of("multilabel", ("a", "b"), thresholds=(0.5, 0.5))
    targets = [tuple(n for n, one in zip("ab", row, strict=True) if one) for row in true.tolist()]
    a, b = (write_run(tmp_path / f"l{n}", labels, targets, p) for n, p in enumerate(probabilities))
    text = compare(a, b)
    expected = [average_precision_score(true, values) for values in probabilities]
    assert row_of(text, "average precision (macro)")[:2] == pytest.approx(expected, abs=1e-4)
    assert "McNemar" in text
    without = true.clone()
    without[:, 1] = 0
    targets = [tuple("a"[:one]) for one, _ in without.tolist()]
    a, b = (write_run(tmp_path / f"w{n}", labels, targets, p) for n, p in enumerate(probabilities))
    expected = [average_precision_score(true[:, 0], values[:, 0]) for values in probabilities]
    assert row_of(compare(a, b), "average precision (macro)")[:2] == pytest.approx(expected, abs=1e-4)
    numbers = task_of("regression", ("age", "mass"), mean=(0.0, 0.0), std=(1.0, 1.0))
    targets = [tuple(map(str, row)) for row in true.tolist()]
    a, b = (write_run(tmp_path / f"n{n}", numbers, targets, p) for n, p in enumerate(probabilities))
    text = compare(a, b)
    expected = [mean_absolute_error(true, values) for values in probabilities]
    assert row_of(text, "MAE")[:2] == pytest.approx(expected, abs=1e-4)
    assert "McNemar" not in text


def test_runs_of_other_images_or_tasks_are_one_line(script: Command, tmp_path: Path) -> None:
    task, targets = task_of("multiclass", ("cat", "dog")), [("cat",), ("dog",)]
    write_run(tmp_path / "run", task, targets, torch.eye(2), "ab")
    write_run(tmp_path / "images", task, targets, torch.eye(2), "bc")
    write_run(tmp_path / "targets", task, targets[::-1], torch.eye(2), "ab")
    numbers = task_of("regression", ("age",), mean=(0.0,), std=(1.0,))
    write_run(tmp_path / "task", numbers, [("1",), ("2",)], torch.ones(2, 1), "ab")
    messages = {
        "images": "different test images (2 and 2, 1 of them the same): train the second with data.splits=",
        "targets": "different targets of the same images",
        "task": "different tasks",
        "none": "none has no predictions.csv",
    }
    for other, message in messages.items():
        result = script("compare.py", "run", other)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert message in result.stderr
    result = script("compare.py", "run", "run")
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 test images" in result.stdout


def test_labels_with_odd_names_are_read_back(tmp_path: Path) -> None:
    task = task_of("multilabel", ("label 1", "path"), thresholds=(0.5, 0.5))
    targets: list[Target] = [("label 1",), ("path",), ()]
    run = write_run(tmp_path / "run", task, targets, torch.rand(3, 2))
    assert read_tested(run).true.tolist() == [[1, 0], [0, 1], [0, 0]]
