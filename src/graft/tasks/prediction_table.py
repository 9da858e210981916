"""The file predictions.csv of a run: true and predicted targets of its test images."""

import csv
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from graft.tasks import Target
from graft.tasks.multiclass import Multiclass
from graft.tasks.multilabel import Multilabel
from graft.tasks.regression import Regression
from graft.tasks.task import Task


def write_labelled_predictions(
    file: Path, paths: Sequence[str], targets: Sequence[Target], task: Task, values: Tensor
) -> None:
    """Write a CSV with a row for each image; `values` `[N, C]` are those of `Task.predict`.

    Columns: path, label, predicted, probability and one for each class; path, labels, predicted and one for
    each label; or path and, for each target, its name and `predicted NAME`.
    """
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(header(task))
        for path, target, row in zip(paths, targets, values.tolist(), strict=True):
            numbers = [f"{value:.9g}" for value in row]
            if isinstance(task, Regression):
                cells = [cell for pair in zip(target, numbers, strict=True) for cell in pair]
            else:
                cells = [joined(task, target), task.answer(row), *numbers]
                if isinstance(task, Multiclass):
                    cells.insert(2, f"{max(row):.9g}")
            writer.writerow([as_text(path), *cells])


def header(task: Task) -> list[str]:
    if isinstance(task, Regression):
        names = [name for column in task.columns for name in (column, f"predicted {column}")]
        return ["path", *unless_taken(task, names, ["path"])]
    own = ["path", "labels", "predicted"]
    if isinstance(task, Multiclass):
        own = ["path", "label", "predicted", "probability"]
    return [*own, *unless_taken(task, task.columns, own)]


def unless_taken(task: Task, names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return names of columns; one that another column has gets the kind of its task's columns before it."""
    kind = {"multiclass": "class", "multilabel": "label"}.get(task.name, "target")
    return [f"{kind} {name}" if name in taken else name for name in names]


def joined(task: Task, target: Target) -> str:
    separator = task.separator if isinstance(task, Multilabel) else ";"
    return separator.join(target)


def as_text(name: str) -> str:
    """Return a file's name as Unicode; bytes of it that are none, as `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode()
