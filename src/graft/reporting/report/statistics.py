"""Metrics of labelled images with 95 % intervals, and the figures of each class."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graft.tasks.task import Task

FEWEST_RESAMPLES, MOST_RESAMPLES = 50, 200
MOST_NUMBERS = 2e7  # outputs that all resamples have together: about ten seconds
SHARE_RESAMPLES = 1000
Z = 1.959963984540054  # the 97.5th percentile of the normal distribution
LEAST_GROUPS = 10  # below it the percentiles of a bootstrap are far too narrow


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval; the limits are NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class or label; None where no image determines them."""

    name: str
    images: int
    precision: Estimate | None  # share of the images with this prediction that have the class
    recall: Estimate | None  # share of the images of the class with this prediction
    f1: float | None


def estimates(
    task: Task, logits: Tensor, targets: Tensor, groups: Sequence[str], seed: int
) -> dict[str, Estimate]:
    """Return the task's metrics and the plain loss with 95 % intervals.

    `logits` `[N, C]`. `groups[i]` names the group (a patient) of image i, empty where it stands alone.
    Intervals are those of a percentile bootstrap over the groups (Efron & Tibshirani 1993): how much other
    test images would change a metric, not another training. The accuracy is a share, see `share_estimate`. An
    interval without width is none. There is none with fewer than `LEAST_GROUPS` groups, as too few resamples
    differ, and none where `resamples_for` so many outputs is 0.
    """
    numbers, metrics = group_numbers(groups), task.build_metrics()
    scores, metric_targets = task.scores(logits), task.metric_targets(targets)

    def measured(images: Tensor | slice) -> dict[str, float]:
        metrics.reset()
        metrics.update(scores[images], metric_targets[images])
        values = metrics.compute() | {"loss": task.plain_loss(logits[images], targets[images])}
        return {name: float(values[name]) for name in (*task.metrics, "loss")}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # About classes that a resample lacks.
        values = measured(slice(None))
        drawn = resampled_images(numbers, seed, resamples_for(logits.numel()))
        resampled = [measured(images) for images in drawn]
    found = {name: Estimate(value, *limits([r[name] for r in resampled])) for name, value in values.items()}
    if task.has_classes and "accuracy" in found:
        right = (logits.argmax(dim=1) == targets).double().numpy()
        if math.isclose(right.mean(), found["accuracy"].value, abs_tol=1e-6):
            found["accuracy"] = share_estimate(right, numbers, seed)
    return found


def resamples_for(outputs: int) -> int:
    """Return how many resamples of so many outputs take seconds; 0 where they are too few to be of use."""
    affordable = int(min(MOST_RESAMPLES, MOST_NUMBERS / outputs))
    return affordable if affordable >= FEWEST_RESAMPLES else 0


def resampled_images(groups: np.ndarray, seed: int, resamples: int) -> Iterator[Tensor]:
    """Yield the indices of the images of as many groups, drawn with replacement; none of too few groups."""
    count = int(groups.max()) + 1
    if count < LEAST_GROUPS:
        return
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = generator.integers(count, size=count)
        yield torch.from_numpy(np.concatenate([members[group] for group in drawn]))


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile; NaN where no values differ."""
    known = [value for value in values if not math.isnan(value)]
    low, high = map(float, np.percentile(known or [math.nan], [2.5, 97.5]))
    return (low, high) if low < high and not math.isclose(low, high) else (math.nan, math.nan)


def group_numbers(groups: Sequence[str]) -> np.ndarray:
    """Return for each image the number of its group, from 0; an image without one is a group by itself."""
    names = [f"group {group}" if group else f"image {image}" for image, group in enumerate(groups)]
    return np.unique(names, return_inverse=True)[1]


def share_estimate(right: np.ndarray, groups: np.ndarray, seed: int = 0) -> Estimate:
    """Return the share of `right` `[N]` (0 or 1) with a 95 % interval, which has a width for any outcome.

    Wilson's score interval where each image is a group by itself. Images of one group say less than as many
    independent ones: then it is a percentile bootstrap over the groups (`groups` `[N]`, numbers from 0), or
    Wilson's interval for as many trials as groups where there are fewer than `LEAST_GROUPS` or all images are
    right or all wrong, as resamples hardly differ then.
    """
    images, count = len(right), int(groups.max()) + 1
    value = float(right.mean())
    if count == images or count < LEAST_GROUPS or value in (0, 1):
        return Estimate(value, *wilson(value, count))
    sizes, hits = np.bincount(groups).astype(float), np.bincount(groups, weights=right)
    drawn = np.random.default_rng(seed).integers(count, size=(SHARE_RESAMPLES, count))
    low, high = np.percentile(hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval (Wilson 1927) of a share among independent trials.

    Of grouped images, the share need not be that of a whole number of trials, as scipy's interval needs it.
    """
    spread = Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # The limits are exact where rounding would miss them.
    return 0.0 if share == 0 else middle - half, 1.0 if share == 1 else middle + half


def class_figures(
    names: Sequence[str], is_true: np.ndarray, is_predicted: np.ndarray, groups: np.ndarray
) -> list[ClassFigures]:
    """Return the figures of every class; `is_true` and `is_predicted` `[N, C]` are true or false."""
    rows = []
    for name, true, predicted in zip(names, is_true.T, is_predicted.T, strict=True):
        images, both = int(true.sum()), int((true & predicted).sum())
        either = images + int(predicted.sum())
        precision, recall = share_among(true, predicted, groups), share_among(predicted, true, groups)
        rows.append(ClassFigures(name, images, precision, recall, 2 * both / either if either else None))
    return rows


def share_among(right: np.ndarray, chosen: np.ndarray, groups: np.ndarray) -> Estimate | None:
    if not chosen.any():
        return None
    return share_estimate(right[chosen].astype(float), np.unique(groups[chosen], return_inverse=True)[1])


def balanced_outlook(
    logits: Tensor, targets: Tensor, counts: Sequence[int], column: int
) -> tuple[float, float]:
    """Return about what balanced class weights make of the recall of a class and of the accuracy.

    The logits `[N, C]` less the logarithm of the training images of each class, `counts`, are those of a
    network for which all classes are equally frequent (logit adjustment, Menon et al. 2021).
    """
    right = (logits - torch.tensor(counts).clamp(min=1).log()).argmax(dim=1) == targets
    return float(right[targets == column].float().mean()), float(right.float().mean())


def frequent_confusions(
    labels: Sequence[int], predicted: Sequence[int], names: Sequence[str], most: int
) -> list[tuple[str, str, int]]:
    """Return the most frequent mistakes as (true class, predicted class, images)."""
    wrong = Counter(pair for pair in zip(labels, predicted, strict=True) if pair[0] != pair[1])
    return [(names[true], names[guess], count) for (true, guess), count in wrong.most_common(most)]
