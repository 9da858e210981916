"""What the predictions of labelled pictures amount to: metrics with intervals, figures of each class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

RESAMPLES = 1000
NUMBERS_AT_ONCE = 100_000  # weights of resampled pictures; few enough for the processor's cache
MOST_RANKED = 1_000_000  # pictures times classes; resampling AUROC beyond it takes minutes
SMALLEST = float(np.finfo(np.float32).tiny)  # a 32-bit probability of 0 has no logarithm


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval; the limits are NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassFigures:
    """How one class came out; what no picture determines is None."""

    name: str
    pictures: int
    precision: float | None  # of what was called so, the share that is
    recall: float | None  # of the class, the share that was found
    f1: float | None


@dataclass(frozen=True)
class Ranking:
    """All pictures by their probability of one class, and where the pictures of the class stand."""

    order: np.ndarray  # pictures, the least probable first
    pictures: np.ndarray  # those of the class ...
    starts: np.ndarray  # ... how many pictures are less probable than each of them ...
    ends: np.ndarray  # ... and how many are at most as probable


def rank(scores: np.ndarray, is_class: np.ndarray) -> Ranking:
    """Return the ranking of the pictures by `scores` `[N]`; `is_class` `[N]` says which are of the class."""
    order = np.argsort(scores, kind="stable")
    ranked, own = scores[order], scores[is_class]
    starts, ends = (np.searchsorted(ranked, own, side) for side in ("left", "right"))
    return Ranking(order, np.flatnonzero(is_class), starts, ends)


class WeightedMetrics:
    """Metrics of the same predictions under other weights of the pictures, as a bootstrap needs them.

    `probabilities` `[N, num_classes]`, `labels` `[N]`. The metrics are those of `graft.metrics`.
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
            own = weights[:, ranking.pictures]
            below = np.zeros((len(weights), len(ranking.order) + 1))
            np.cumsum(weights[:, ranking.order], axis=1, out=below[:, 1:])
            ranks = (below[:, ranking.starts] + below[:, ranking.ends]) / 2
            positive = own.sum(axis=1)
            # Mann & Whitney: among themselves, the pictures of the class win half of their pairs.
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


def bootstrap_estimates(
    probabilities: np.ndarray, labels: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Return accuracy, macro F1, macro AUROC and cross-entropy with 95 % intervals.

    Percentile bootstrap over the pictures (Efron & Tibshirani 1993): it says how much another choice of
    test pictures would change a metric, not how much another training would.
    """
    metrics = WeightedMetrics(probabilities, labels)
    functions = {
        "accuracy": metrics.accuracy,
        "f1": metrics.f1,
        "auroc": metrics.auroc,
        "loss": metrics.loss,
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    left_out = {"auroc"} if probabilities.size > MOST_RANKED else set()
    for weights in resampled_weights(len(labels), seed, resamples):
        for name in functions.keys() - left_out:
            found[name].append(functions[name](weights))
    every = np.ones((1, len(labels)))
    return {
        name: Estimate(float(function(every)[0]), *limits(found[name]))
        for name, function in functions.items()
    }


def resampled_weights(pictures: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each picture is drawn, `[R, pictures]`, some resamples at once."""
    chance = np.random.default_rng(seed)
    at_once = max(1, NUMBERS_AT_ONCE // pictures)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = chance.integers(pictures, size=(rows, pictures))
        yield np.stack([np.bincount(row, minlength=pictures) for row in drawn]).astype(np.float64)


def limits(values: list[np.ndarray]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile; NaN where there are no values."""
    known = np.concatenate(values) if values else np.empty(0)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def class_figures(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> list[ClassFigures]:
    """Return the figures of every class; `labels` and `predicted` `[N]` are class numbers."""
    classes = len(class_names)
    pictures = np.bincount(labels, minlength=classes).tolist()
    said = np.bincount(predicted, minlength=classes).tolist()
    hits = np.bincount(labels[labels == predicted], minlength=classes).tolist()
    return [
        ClassFigures(name, n, share(hit, m), share(hit, n), share(2 * hit, n + m))
        for name, n, m, hit in zip(class_names, pictures, said, hits, strict=True)
    ]


def share(part: int, whole: int) -> float | None:
    """Return part / whole, None where there is nothing."""
    return part / whole if whole else None


def frequent_confusions(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], most: int
) -> list[tuple[str, str, int]]:
    """Return the most frequent mistakes as (true class, predicted class, pictures)."""
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
