# room: reporting
"""The figures of the report are those of scikit-learn, and their intervals behave."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
)
from torch import Tensor

from graft.reporting.report.statistics import (
    LEAST_GROUPS,
    MOST_RESAMPLES,
    ClassFigures,
    Estimate,
    balanced_outlook,
    class_figures,
    estimates,
    frequent_confusions,
    group_numbers,
    resampled_images,
    resamples_for,
    share_estimate,
)
from tests.conftest import task_of


def predictions(images: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right more often than not, some of them equal, and labels."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(classes, size=images)
    logits = chance.normal(size=(images, classes)).round(1)
    logits[np.arange(images), labels] += 1
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), labels


def estimated(
    probabilities: np.ndarray, labels: np.ndarray, seed: int, groups: list[str] | None = None
) -> dict[str, Estimate]:
    """The estimates of a multiclass task."""
    task = task_of("multiclass", [str(number) for number in range(probabilities.shape[1])])
    logits = torch.from_numpy(probabilities).clamp(min=1e-30).log()
    return estimates(task, logits, torch.from_numpy(labels), groups or [""] * len(labels), seed)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_values_are_those_of_scikit_learn(classes: int) -> None:
    probabilities, labels = predictions(200, classes)
    found = estimated(probabilities, labels, seed=0)
    predicted = probabilities.argmax(axis=1)
    shares = torch.from_numpy(probabilities).log().softmax(dim=1).numpy()  # with the same ties
    areas = [roc_auc_score(labels == number, shares[:, number]) for number in range(classes)]
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "f1": f1_score(labels, predicted, average="macro"),
        "auroc": np.mean(areas),
        "loss": log_loss(labels, probabilities),
    }
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(expected)


def test_the_values_are_those_of_the_run_where_a_class_has_no_images() -> None:
    probabilities, labels = predictions(60, 4)
    labels = labels % 3
    metrics = task_of("multiclass", "abcd").build_metrics()
    metrics.update(torch.from_numpy(probabilities), torch.from_numpy(labels))
    found = estimated(probabilities, labels, seed=0)
    for name, value in metrics.compute().items():
        assert found[name].value == pytest.approx(float(value), abs=1e-6), name


def test_the_values_of_labels_and_numbers_are_those_of_scikit_learn() -> None:
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 3, generator=chance)
    labels = (logits + torch.randn(50, 3, generator=chance) > 0).float()
    thresholds = (0.5, 0.2, 0.7)
    of_labels = estimates(task_of("multilabel", "abc", thresholds=thresholds), logits, labels, [""] * 50, 0)
    probabilities = logits.sigmoid()
    f1 = f1_score(labels, probabilities >= torch.tensor(thresholds), average="macro")
    assert of_labels["f1"].value == pytest.approx(f1)
    precision = average_precision_score(labels, probabilities, average="macro")
    assert of_labels["average_precision"].value == pytest.approx(precision, abs=1e-6)
    numbers = 3 * logits + 10 + torch.randn(50, 3, generator=chance)
    task = task_of("regression", "abc", mean=(10.0,) * 3, std=(3.0,) * 3)
    of_numbers = estimates(task, logits, numbers, [""] * 50, 0)
    assert of_numbers["mae"].value == pytest.approx(mean_absolute_error(numbers, 3 * logits + 10), abs=1e-5)
    assert of_numbers["r2"].value == pytest.approx(r2_score(numbers, 3 * logits + 10), abs=1e-5)
    for name, estimate in (of_labels | of_numbers).items():
        assert estimate.low < estimate.value < estimate.high, name


def test_a_resample_has_as_many_whole_groups() -> None:
    groups = np.arange(36) // 3
    for images in resampled_images(groups, seed=0, resamples=20):
        drawn = groups[images]
        assert len(images) == 36
        counts = np.bincount(drawn, minlength=12)
        assert set(counts % 3) == {0}
        assert set(images.tolist()) == set(np.flatnonzero(np.isin(groups, drawn)).tolist())


def test_656_images_of_two_classes_take_few_resamples_and_the_same_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert resamples_for(656 * 2) == MOST_RESAMPLES <= 200
    drawn: list[list[Tensor]] = []

    def counted(*arguments: Any) -> list[Tensor]:
        drawn.append(list(resampled_images(*arguments)))
        return drawn[-1]

    monkeypatch.setattr("graft.reporting.report.statistics.resampled_images", counted)
    first, second = (estimated(*predictions(656, 2), seed=42) for _ in range(2))
    assert first == second
    assert [len(resamples) for resamples in drawn] == [MOST_RESAMPLES] * 2
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


def test_so_many_outputs_that_resampling_takes_minutes_have_no_bootstrap() -> None:
    assert resamples_for(10_000 * 1000) == 0
    assert 50 <= resamples_for(20_000 * 10) < MOST_RESAMPLES


def test_intervals_hold_their_value_narrow_with_more_images_and_repeat() -> None:
    few, many = (estimated(*predictions(count, 3), seed=7) for count in (60, 960))
    for name in few:
        for estimate in (few[name], many[name]):
            assert estimate.low < estimate.value < estimate.high
        # Sixteen times the images: a quarter of the width.
        assert 0.15 < (many[name].high - many[name].low) / (few[name].high - few[name].low) < 0.4
    assert estimated(*predictions(60, 3), seed=7) == few
    assert estimated(*predictions(60, 3), seed=8) != few


def perfect(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are all right, and the labels of two classes in turns."""
    labels = np.arange(images) % 2
    return np.eye(2)[labels], labels


def wilson_of_scipy(hits: int, trials: int) -> tuple[float, float]:
    found = binomtest(hits, trials).proportion_ci(method="wilson")
    return found.low, found.high


@pytest.mark.parametrize(("hits", "trials"), [(30, 30), (0, 30), (29, 30), (1, 1), (0, 1), (7, 12)])
def test_the_interval_of_a_share_is_wilsons_of_scipy(hits: int, trials: int) -> None:
    right = (np.arange(trials) < hits).astype(float)
    found = share_estimate(right, np.arange(trials))
    assert (found.low, found.high) == pytest.approx(wilson_of_scipy(hits, trials), abs=1e-12)
    assert found.value == hits / trials


def test_a_model_without_mistakes_may_be_wrong_elsewhere() -> None:
    found = estimated(*perfect(30), seed=0)
    assert found["accuracy"].low == pytest.approx(0.886, abs=5e-4)
    assert found["accuracy"].high == 1
    # No resample has a mistake, or another loss: nothing says how far these may be.
    for name in ("f1", "auroc", "loss"):
        assert np.isnan([found[name].low, found[name].high]).all(), name


def test_thirty_images_of_three_patients_say_as_much_as_three() -> None:
    groups = [f"patient {number % 3}" for number in range(30)]
    found = estimated(*perfect(30), 0, groups)["accuracy"]
    assert (found.low, found.high) == pytest.approx(wilson_of_scipy(3, 3))
    assert found.low == pytest.approx(0.44, abs=0.005)
    # A mistake must not make the interval narrower.
    probabilities, labels = perfect(30)
    probabilities[0] = 1 - probabilities[0]
    wrong = estimated(probabilities, labels, 0, groups)
    assert wrong["accuracy"].low < found.low
    assert np.isnan(wrong["f1"].low)


def test_images_of_a_group_are_resampled_together() -> None:
    probabilities, labels = predictions(40, 3)
    many, repeated = (np.repeat(values, 5, axis=0) for values in (probabilities, labels))
    groups = [str(number // 5) for number in range(200)]
    grouped = estimated(many, repeated, 3, groups)
    single = estimated(probabilities, labels, seed=3)
    for name in ("f1", "auroc", "loss"):
        assert vars(grouped[name]) == pytest.approx(vars(single[name])), name
    alone = estimated(many, repeated, 3)["accuracy"]
    assert grouped["accuracy"].high - grouped["accuracy"].low > 1.8 * (alone.high - alone.low)


def test_images_without_a_group_stand_alone() -> None:
    assert sorted(group_numbers([""] * 40)) == list(range(40))
    first, second, *alone = group_numbers(["a", "a", "", "", "0"])
    assert first == second
    assert len({first, *alone}) == 4


def test_what_few_images_say_has_no_bootstrap() -> None:
    few = estimated(*predictions(LEAST_GROUPS - 1, 2), seed=0)
    assert np.isnan([few["f1"].low, few["loss"].high]).all()
    assert few["accuracy"].low < few["accuracy"].value < few["accuracy"].high


def figures_of(
    labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], groups: list[str] | None = None
) -> list[ClassFigures]:
    classes = np.eye(len(names), dtype=bool)
    numbers = group_numbers(groups or [""] * len(labels))
    return class_figures(names, classes[labels], classes[predicted], numbers)


def test_precision_and_recall_have_intervals_also_of_a_class_with_one_image() -> None:
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    first, second = figures_of(labels, predicted, "ab")
    assert first.precision is not None
    assert first.recall is not None
    assert second.recall is not None
    assert (first.precision.low, first.precision.high) == pytest.approx(wilson_of_scipy(2, 2))
    assert (first.recall.low, first.recall.high) == pytest.approx(wilson_of_scipy(2, 3))
    assert (second.recall.low, second.recall.high) == pytest.approx(wilson_of_scipy(1, 1))
    (grouped, _) = figures_of(labels, predicted, "ab", ["x", "x", "", ""])
    assert grouped.precision is not None
    assert (grouped.precision.low, grouped.precision.high) == pytest.approx(wilson_of_scipy(1, 1))


def test_one_class_alone_has_no_auroc() -> None:
    found = estimated(np.full((3, 2), 0.5), np.zeros(3, dtype=int), seed=0)["auroc"]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_class_figures_are_those_of_scikit_learn_and_absent_where_nothing_determines_them() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 0])
    found = figures_of(labels, predicted, ["a", "b", "c", "never"])
    expected = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2, 3], zero_division=np.nan)
    for number, row in enumerate(found):
        shares = [None if share is None else share.value for share in (row.precision, row.recall)]
        figures = [np.nan if x is None else x for x in (*shares, row.f1)]
        assert figures == pytest.approx([column[number] for column in expected[:3]], nan_ok=True)
        assert row.images == expected[3][number]
    assert found[3].f1 is None


def test_the_most_frequent_confusions_come_first() -> None:
    labels, predicted = [0, 1, 1, 1, 2, 2], [1, 2, 2, 1, 0, 0]
    found = frequent_confusions(labels, predicted, ["a", "b", "c"], most=2)
    assert found == [("b", "c", 2), ("c", "a", 2)]


def test_balanced_weights_are_expected_to_find_more_of_the_small_class() -> None:
    """The logits of the best network for two normal distributions, of which one is rare."""
    chance = np.random.default_rng(0)
    labels = (chance.random(20_000) < 0.9).astype(int)
    x = torch.from_numpy(chance.normal(2 * labels - 1.0))
    log_ratio = 2 * x + np.log(9)  # of the densities, and of the frequencies
    logits, targets = torch.stack([-log_ratio / 2, log_ratio / 2], dim=1), torch.from_numpy(labels)
    before = float((logits.argmax(dim=1) == targets)[targets == 0].float().mean())
    recall, accuracy = balanced_outlook(logits, targets, [1000, 9000], 0)
    assert before < 0.5
    assert recall == pytest.approx(
        0.841, abs=0.02
    )  # A normal variable lies 1 below: both classes' best recall.
    assert accuracy == pytest.approx(0.841, abs=0.01)
