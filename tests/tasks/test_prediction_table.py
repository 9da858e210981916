"""The columns of predictions.csv for each task."""

import csv
from pathlib import Path

import pytest
import torch

from graft.tasks.prediction_table import write_labelled_predictions
from graft.tasks.task import Task
from tests.conftest import task_of


@pytest.mark.parametrize(
    ("task", "target", "values", "row"),
    [
        (
            task_of("multiclass", ("cat", "label")),
            ("cat",),
            [0.25, 0.75],
            {
                "label": "cat",
                "predicted": "label",
                "probability": "0.75",
                "cat": "0.25",
                "class label": "0.75",
            },
        ),
        (
            task_of("multilabel", ("big", "path"), thresholds=[0.2, 0.5], separator="|"),
            ("big", "path"),
            [0.25, 0.75],
            {"labels": "big|path", "predicted": "big|path", "big": "0.25", "label path": "0.75"},
        ),
        (
            task_of("regression", ("age", "path"), mean=[0.0, 0.0], std=[1.0, 1.0]),
            ("40", "1e3"),
            [40.5, 1001.25],
            {"age": "40", "predicted age": "40.5", "target path": "1e3", "predicted path": "1001.25"},
        ),
    ],
)
def test_each_task_has_its_own_columns(
    tmp_path: Path, task: Task, target: tuple[str, ...], values: list[float], row: dict[str, str]
) -> None:
    name = "b\udcff.jpg"  # A file's name that is not UTF-8.
    write_labelled_predictions(tmp_path / "p.csv", [name], [target], task, torch.tensor([values]))
    with (tmp_path / "p.csv").open(encoding="utf-8") as lines:
        assert list(csv.DictReader(lines)) == [{"path": "b\\udcff.jpg", **row}]
