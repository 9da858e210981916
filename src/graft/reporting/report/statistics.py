"""What the predictions of labelled images amount to: metrics with intervals, metrics of each class."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

RESAMPLES = 1000
Z = 1.959963984540054  # the 97.5th percentile of the normal distribution
LEAST_GROUPS = 10  # below it the percentiles of a bootstrap are far too narrow
NUMBERS_AT_ONCE = 100_000  # weights of resampled images; few enough for the processor's cache
MOST_RANKED = 1_000_000  # images times classes; resampling AUROC beyond it takes minutes
SMALLEST = float(np.finfo(np.float32).tiny)  # a 32-bit probability of 0 has no logarithm


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval; the limits are NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassFigures:
    """How one class came out; what no image determines is None."""

    name: str
    images: int
    precision: Estimate | None  # of what was called so, the share that is
    recall: Estimate | None  # of the class, the share that was found
    f1: float | None


@dataclass(frozen=True)
class Ranking:
    """All images by their probability of one class, and where the images of the class stand."""

    order: np.ndarray  # images, the least probable first
    images: np.ndarray  # those of the class ...
    starts: np.ndarray  # ... how many images are less probable than each of them ...
    ends: np.ndarray  # ... and how many are at most as probable


def rank(scores: np.ndarray, is_class: np.ndarray) -> Ranking:
    """Return the ranking of the images by `scores` `[N]`; `is_class` `[N]` says which are of the class."""
    order = np.argsort(scores, kind="stable")
    ranked, own = scores[order], scores[is_class]
    starts, ends = (np.searchsorted(ranked, own, side) for side in ("left", "right"))
    return Ranking(order, np.flatnonzero(is_class), starts, ends)


class WeightedMetrics:
    """Metrics of the same predictions under other weights of the images, as a bootstrap needs them.

    `probabilities` `[N, num_classes]`, `labels` `[N]`. The metrics are those of `graft.tasks.metrics`.
    """

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        self.probabilities, self.labels = probabilities.astype(np.float64), labels
        self.classes = probabilities.shape[1]
        self.predicted = probabilities.argmax(axis=1)
        self.right = (self.predicted == labels).astype(np.float64)
        own = self.probabilities[np.arange(len(labels)), labels]
        self.surprise = -np.log(np.maximum(own, SMALLEST))

    def accuracy(self, weights: np.ndarray) -> np.ndarray:
        """Return the accuracy under every row of `weights` `[R, N]`."""
        return np.asarray(weights @ self.right / weights.sum(axis=1))

    def loss(self, weights: np.ndarray) -> np.ndarray:
        """Return the cross-entropy under every row of `weights` `[R, N]`."""
        return np.asarray(weights @ self.surprise / weights.sum(axis=1))

    def f1(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean F1 of the classes that occur or are predicted, under every row of `weights`."""
        hits = self._sums(self.labels, weights * self.right)
        both = self._sums(self.labels, weights) + self._sums(self.predicted, weights)
        counts = both > 0
        scores = np.divide(2 * hits, both, out=np.zeros_like(both), where=counts)
        return np.asarray(scores.sum(axis=1) / counts.sum(axis=1))

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean AUROC, one against the rest, of the classes that occur, under every row.

        NaN where fewer than two classes occur.
        """
        total = np.zeros(len(weights))
        occurring = np.zeros(len(weights))
        for ranking in self._rankings:
            own = weights[:, ranking.images]
            below = np.zeros((len(weights), len(ranking.order) + 1))
            np.cumsum(weights[:, ranking.order], axis=1, out=below[:, 1:])
            ranks = (below[:, ranking.starts] + below[:, ranking.ends]) / 2
            positive = own.sum(axis=1)
            # Mann & Whitney: among themselves, the images of the class win half of their pairs.
            wins = (own * ranks).sum(axis=1) - positive**2 / 2
            pairs = positive * (below[:, -1] - positive)
            total += np.divide(wins, pairs, out=np.zeros_like(pairs), where=pairs > 0)
            occurring += positive > 0
        return np.divide(total, occurring, out=np.full_like(total, np.nan), where=occurring > 1)

    @cached_property
    def _rankings(self) -> list["Ranking"]:
        return [
            rank(self.probabilities[:, number], self.labels == number) for number in np.unique(self.labels)
        ]

    def _sums(self, numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(numbers, row, self.classes) for row in weights])


def estimates(
    probabilities: np.ndarray,
    labels: np.ndarray,
    seed: int,
    units: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Return accuracy, macro F1, macro AUROC and cross-entropy with 95 % intervals.

    `units[i]` names the group (a patient) of image i, empty where it stands alone; without `units` all do.
    Accuracy is a share: see `share_estimate`. The others have a percentile bootstrap over the groups (Efron &
    Tibshirani 1993): how much another choice of test images would change them, not another training. An
    interval without width is none: F1 and AUROC of a model without mistakes do not vary over resamples, and
    there is no interval with fewer than `LEAST_GROUPS` groups, as too few resamples differ.
    """
    groups = group_numbers(units, len(labels))
    count = int(groups.max()) + 1
    metrics = WeightedMetrics(probabilities, labels)
    functions = {"accuracy": metrics.accuracy, "f1": metrics.f1, "auroc": metrics.auroc, "loss": metrics.loss}
    found: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    left_out = {"accuracy"} | ({"auroc"} if probabilities.size > MOST_RANKED else set())
    for weights in resampled_weights(count, seed, resamples) if count >= LEAST_GROUPS else ():
        for name in functions.keys() - left_out:
            found[name].append(functions[name](weights[:, groups]))
    every = np.ones((1, len(labels)))
    values = {name: float(function(every)[0]) for name, function in functions.items()}
    return {
        name: Estimate(value, *without_collapse(*limits(found[name]))) for name, value in values.items()
    } | {"accuracy": share_estimate(metrics.right, groups, seed, resamples)}


def group_numbers(units: Sequence[str], images: int) -> np.ndarray:
    """Return for each image the number of its group, from 0, in the order of the images.

    An image without a unit is a group by itself.
    """
    numbers: dict[str, int] = {}
    names = [f"unit {unit}" if unit else f"image {image}" for image, unit in enumerate(units)]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names] or range(images))


def share_estimate(
    right: np.ndarray, groups: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the share of `right` `[N]` (0 or 1) with a 95 % interval, which has a width for any outcome.

    Wilson's score interval where each image is a group by itself. Images of one group say less than as many
    independent ones: then it is a percentile bootstrap over the groups (`groups` `[N]`, numbers from 0), or
    Wilson's interval for as many trials as groups where there are fewer than `LEAST_GROUPS` or all images are
    right or all wrong, as resamples hardly differ then.
    """
    images, count = len(right), int(groups.max()) + 1
    value = float(right.mean())
    if count == images:
        return Estimate(value, *wilson(value, images))
    if count < LEAST_GROUPS or value in (0, 1):
        return Estimate(value, *wilson(value, count))
    sizes = np.bincount(groups).astype(np.float64)
    hits = np.bincount(groups, weights=right)
    found = [weights @ hits / (weights @ sizes) for weights in resampled_weights(count, seed, resamples)]
    return Estimate(value, *limits(found))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval (Wilson 1927) of a share among independent trials."""
    spread = Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # The limits are exact where rounding would miss them.
    return 0.0 if share == 0 else middle - half, 1.0 if share == 1 else middle + half


def without_collapse(low: float, high: float) -> tuple[float, float]:
    """Return the limits, NaN where they are one number: no resample has shown how far the value may be."""
    return (low, high) if low < high and not math.isclose(low, high) else (math.nan, math.nan)


def resampled_weights(groups: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each group is drawn, `[R, groups]`, some resamples at once."""
    chance = np.random.default_rng(seed)
    at_once = max(1, NUMBERS_AT_ONCE // groups)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = chance.integers(groups, size=(rows, groups))
        yield np.stack([np.bincount(row, minlength=groups) for row in drawn]).astype(np.float64)


def limits(values: list[np.ndarray]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile; NaN where there are no values."""
    known = np.concatenate(values) if values else np.empty(0)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def class_figures(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], units: Sequence[str] = ()
) -> list[ClassFigures]:
    """Return the metrics of every class; `labels` and `predicted` `[N]` are class indices.

    Precision and recall have intervals, as accuracy has; `units` is as in `estimates`.
    """
    groups = group_numbers(units, len(labels))
    right = (labels == predicted).astype(np.float64)
    found = []
    for number, name in enumerate(class_names):
        is_class, is_called = labels == number, predicted == number
        n, m = int(is_class.sum()), int(is_called.sum())
        f1 = 2 * float(right[is_class].sum()) / (n + m) if n + m else None
        found.append(
            ClassFigures(
                name, n, share_among(right, groups, is_called), share_among(right, groups, is_class), f1
            )
        )
    return found


def share_among(right: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> Estimate | None:
    """Return the share of `right` among the chosen images, None where there are none."""
    if not chosen.any():
        return None
    return share_estimate(right[chosen], np.unique(groups[chosen], return_inverse=True)[1])


def frequent_confusions(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], most: int
) -> list[tuple[str, str, int]]:
    """Return the most frequent mistakes as (true class, predicted class, images)."""
    classes = len(class_names)
    wrong = labels != predicted
    cells, counts = np.unique(labels[wrong] * classes + predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [
        (class_names[cell // classes], class_names[cell % classes], count)
        for cell, count in zip(cells[order].tolist(), counts[order].tolist(), strict=True)
    ]


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return `softmax(logits / temperature)` of the probabilities `[N, num_classes]` of the logits."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
