"""What a model made of labelled images: the part of the page that every tested model has."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import one_hot

from graft.data.sample import Sample
from graft.finished_run import FinishedRun
from graft.inference.explanation import Overlays
from graft.preprocessing import Preprocessing
from graft.reporting.figures.plots import (
    class_curves_figure,
    confusion_figure,
    predicted_against_true_figure,
    reliability_figure,
    residual_figure,
)
from graft.reporting.report.charts import inline_svg
from graft.reporting.report.images import data_uri, thumbnails
from graft.reporting.report.statistics import (
    ClassFigures,
    Estimate,
    class_figures,
    estimates,
    frequent_confusions,
    group_numbers,
)
from graft.reporting.settings import bands_of
from graft.tasks.multiclass import Multiclass
from graft.tasks.prediction_table import joined
from graft.tasks.task import Task

MOST_IN_MATRIX = 60  # classes; a larger matrix cannot be read on a page
MOST_CONFUSIONS = 10
MOST_SHOWN = 8  # mistakes, and as many uncertain images

Parts = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Labelled images with the `logits` `[N, C]` and encoded `targets` of a task."""

    root: Path
    samples: Sequence[Sample]
    task: Task
    preprocessing: Preprocessing
    logits: Tensor
    targets: Tensor
    overlays: Overlays
    seed: int = 0  # of the bootstrap
    bands: Sequence[int] = (0, 1, 2)  # those that are shown of more than three

    @property
    def is_true(self) -> Tensor:
        """The true classes or labels `[N, C]`, zeros and ones."""
        return one_hot(self.targets, len(self.task.columns)) if self.task.has_classes else self.targets.long()

    @property
    def is_predicted(self) -> Tensor:
        """The predicted classes or labels `[N, C]`, zeros and ones."""
        scores = self.task.scores(self.logits)
        if self.task.has_classes:
            return one_hot(scores.argmax(dim=1), len(self.task.columns))
        return (scores >= 0.5).long()


def outcome_of(run: FinishedRun, overlays: Overlays) -> Outcome:
    seed, bands, outputs = run.settings["seed"], bands_of(run.settings), (run.logits, run.targets)
    return Outcome(run.root, run.tested, run.task, run.preprocessing, *outputs, overlays, seed, bands)


def parts_of_test(tested: Outcome) -> Parts:
    """Return what the page says about the test: metrics, and the sections that the task names."""
    task, targets = tested.task, tested.targets
    groups = [sample.group for sample in tested.samples]
    parts: Parts = {
        "kind": "class" if task.has_classes else "label" if "classes" in task.sections else "target",
        "columns": task.columns,
        "tested": len(tested.logits),
        "tested_groups": count_groups(tested.samples),
        "headline": next(iter(task.metrics), "loss"),
        "estimates": estimates(task, tested.logits, targets, groups, tested.seed),
        "decision": task.decision_metrics(tested.logits, targets),
        "majority": None,
        "classes": [],
        "worst": None,
        "rates": {},
        "confusions": [],
        "figures": [vars(plot) | {"svg": inline_svg(plot.draw, plot.title)} for plot in plots_of(tested)],
    }
    if "classes" in task.sections:
        is_true, is_predicted = (t.numpy().astype(bool) for t in (tested.is_true, tested.is_predicted))
        classes = class_figures(task.columns, is_true, is_predicted, group_numbers(groups))
        known = [row for row in classes if row.recall is not None]
        parts["classes"] = classes
        parts["worst"] = min(known, key=lambda row: row.recall.value if row.recall else 0, default=None)
        parts["rates"] = rates(known, positive_class(tested)) if task.has_classes else {}
    if task.has_classes:
        labels, guesses = targets.tolist(), tested.is_predicted.argmax(dim=1).tolist()
        parts["majority"] = int(targets.bincount().max()) / len(labels)
        parts["confusions"] = frequent_confusions(labels, guesses, task.columns, MOST_CONFUSIONS)
    return parts | image_parts(tested)


def positive_class(tested: Outcome) -> int | None:
    """Return the column of the class that is looked for, whatever images are measured; None without one."""
    task = tested.task
    if not isinstance(task, Multiclass) or task.positive is None:
        return None
    return task.columns.index(task.positive)


def rates(classes: Sequence[ClassFigures], positive: int | None) -> dict[str, Estimate]:
    """Return what the recalls of the classes that have images are called together."""
    recalls = {row.name: row.recall for row in classes if row.recall is not None}
    found = {"balanced_accuracy": Estimate(sum(r.value for r in recalls.values()) / len(recalls))}
    if positive is not None and len(recalls) == 2:
        names = list(recalls)
        named = (("sensitivity", names[positive]), ("specificity", names[1 - positive]))
        found |= {f"{rate} (recall of {name})": recalls[name] for rate, name in named}
    return found


@dataclass(frozen=True)
class Plot:
    """A figure that is yet to be drawn, with a sentence below it."""

    title: str
    draw: Callable[[], Figure]
    below: str = ""
    is_wide: bool = False


def plots_of(tested: Outcome) -> Iterator[Plot]:
    """Yield the figures of the sections that the task names."""
    task, targets, names = tested.task, tested.targets, tested.task.columns
    values = task.predict(tested.logits)
    if "confusion" in task.sections and len(names) <= MOST_IN_MATRIX:
        draw = partial(confusion_figure, targets, tested.is_predicted.argmax(dim=1), names)
        yield Plot("Confusion matrix", draw, is_wide=len(names) > 10)
    if "reliability" in task.sections:
        own = task.scores(tested.logits)
        calibrated = None if torch.equal(own, values) else values.numpy()
        draw = partial(reliability_figure, own.numpy(), targets.numpy(), calibrated)
        below = "Above the line, more predictions are correct than the probability says; below it, fewer."
        yield Plot("Reliability", draw, below)
    if "precision_recall" in task.sections:
        draw = partial(class_curves_figure, "precision and recall", values, tested.is_true, names)
        yield Plot("Precision and recall", draw)
        positive = positive_class(tested)
        # Of two classes, the curve of one is the mirror image of the other's.
        shown = slice(None) if positive is None else slice(positive, positive + 1)
        draw = partial(class_curves_figure, "ROC", values[:, shown], tested.is_true[:, shown], names[shown])
        yield Plot("ROC curve", draw)
    if "numbers" in task.sections:
        for true, predicted, name in zip(targets.T.numpy(), values.T.numpy(), names, strict=True):
            draw = partial(predicted_against_true_figure, true, predicted, name)
            yield Plot(f"{name}: predicted against true", draw, "Points on the line have no error.")
            draw = partial(residual_figure, true, predicted, name)
            yield Plot(f"{name}: errors", draw, "Predicted minus true value.")


def count_groups(samples: Sequence[Sample]) -> int | None:
    """Return how many groups the images are of, those without one counted each; None where none has one."""
    groups = [sample.group for sample in samples]
    return len(set(group_numbers(groups))) if any(groups) else None


def ranked_mistakes(tested: Outcome) -> list[int]:
    """Return the indices of the worst mistakes: the most confident ones, or the largest errors."""
    task, logits, targets = tested.task, tested.logits, tested.targets
    if task.has_classes:
        highest, predicted = task.scores(logits).max(dim=1)
        badness = torch.where(predicted != targets, highest, 0.0)
    elif "classes" in task.sections:
        wrong = (tested.is_predicted != tested.is_true).sum(dim=1)
        confidence = (task.predict(logits) - targets).abs().amax(dim=1)
        badness = torch.where(wrong > 0, wrong + confidence, 0.0)
    else:
        errors = [task.plain_loss(*row) for row in zip(logits[:, None], targets[:, None], strict=True)]
        badness = torch.stack(errors)
    order = torch.argsort(badness, descending=True, stable=True)[:MOST_SHOWN]
    return [index for index in order.tolist() if badness[index] > 0]


def least_certain(tested: Outcome) -> list[int]:
    highest = tested.task.scores(tested.logits).amax(dim=1)
    return torch.argsort(highest, stable=True)[:MOST_SHOWN].tolist()


def image_parts(tested: Outcome) -> Parts:
    """Return the mistakes and the uncertain images, with overlays where there can be some."""
    task = tested.task
    kinds = {"mistakes": ranked_mistakes, "uncertain": least_certain}
    chosen = {name: rank(tested) if name in task.sections else None for name, rank in kinds.items()}
    indices = [index for found in chosen.values() for index in found or ()]
    paths = {index: tested.root / tested.samples[index].path for index in indices}
    small = thumbnails(paths.values(), tested.preprocessing, tested.bands)
    drawn = tested.overlays.of([path for path in paths.values() if small[path]])
    overlays = {path: data_uri(image) for path, image in drawn.items()}
    values, is_number = task.predict(tested.logits), "numbers" in task.sections

    def shown(index: int) -> Parts:
        row, path, sample = values[index].tolist(), paths[index], tested.samples[index]
        return {
            "path": sample.path,
            "label": task.answer([*map(float, sample.target)]) if is_number else joined(task, sample.target),
            "predicted": task.answer(row),
            "probability": max(row) if task.has_classes else None,
            "image": small[path],
            "overlay": overlays.get(path, ""),
        }

    cards = {name: None if found is None else list(map(shown, found)) for name, found in chosen.items()}
    return cards | {"why_no_overlays": tested.overlays.why_none}
