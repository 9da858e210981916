"""The figures of the report are those of scikit-learn, and their intervals behave."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support, roc_auc_score

from graft.reporting.report.statistics import (
    LEAST_GROUPS,
    WeightedMetrics,
    class_figures,
    estimates,
    frequent_confusions,
    share_estimate,
    with_temperature,
)
from graft.tasks.metrics import classification_metrics


def predictions(images: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right more often than not, some of them equal, and labels."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(classes, size=images)
    logits = chance.normal(size=(images, classes)).round(1)
    logits[np.arange(images), labels] += 1
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("classes", [2, 5])
def test_the_values_are_those_of_scikit_learn(classes: int) -> None:
    probabilities, labels = predictions(200, classes)
    found = estimates(probabilities, labels, seed=0, resamples=10)
    predicted = probabilities.argmax(axis=1)
    areas = [roc_auc_score(labels == number, probabilities[:, number]) for number in range(classes)]
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
    metrics = classification_metrics(4)
    metrics.update(torch.from_numpy(probabilities), torch.from_numpy(labels))
    found = estimates(probabilities, labels, seed=0, resamples=10)
    for name, value in metrics.compute().items():
        assert found[name].value == pytest.approx(float(value), abs=1e-6), name


def test_a_weight_of_two_is_a_image_twice() -> None:
    probabilities, labels = predictions(40, 3)
    weights = np.random.default_rng(1).integers(3, size=(1, 40))
    repeated = np.repeat(np.arange(40), weights[0])
    weighted = WeightedMetrics(probabilities, labels)
    plain = WeightedMetrics(probabilities[repeated], labels[repeated])
    every = np.ones((1, len(repeated)))
    for name in ("accuracy", "f1", "auroc", "loss"):
        assert getattr(weighted, name)(weights.astype(float)) == pytest.approx(getattr(plain, name)(every))


def test_intervals_hold_their_value_narrow_with_more_images_and_repeat() -> None:
    few, many = (estimates(*predictions(count, 3), seed=7) for count in (60, 960))
    for name in few:
        for estimate in (few[name], many[name]):
            assert estimate.low < estimate.value < estimate.high
        # Sixteen times the images: a quarter of the width.
        assert 0.15 < (many[name].high - many[name].low) / (few[name].high - few[name].low) < 0.4
    assert estimates(*predictions(60, 3), seed=7) == few
    assert estimates(*predictions(60, 3), seed=8) != few


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
    found = estimates(*perfect(30), seed=0)
    assert found["accuracy"].low == pytest.approx(0.886, abs=5e-4)
    assert found["accuracy"].high == 1
    # No resample has a mistake, or another loss: nothing says how far these may be.
    for name in ("f1", "auroc", "loss"):
        assert np.isnan([found[name].low, found[name].high]).all(), name


def test_thirty_images_of_three_patients_say_as_much_as_three() -> None:
    units = [f"patient {number % 3}" for number in range(30)]
    found = estimates(*perfect(30), seed=0, units=units)["accuracy"]
    assert (found.low, found.high) == pytest.approx(wilson_of_scipy(3, 3))
    assert found.low == pytest.approx(0.44, abs=0.005)
    # A mistake must not make the interval narrower.
    probabilities, labels = perfect(30)
    probabilities[0] = 1 - probabilities[0]
    wrong = estimates(probabilities, labels, seed=0, units=units)
    assert wrong["accuracy"].low < found.low
    assert np.isnan(wrong["f1"].low)


def test_images_of_a_group_are_resampled_together() -> None:
    probabilities, labels = predictions(40, 3)
    many, repeated = (np.repeat(values, 5, axis=0) for values in (probabilities, labels))
    units = [str(number // 5) for number in range(200)]
    grouped = estimates(many, repeated, 3, units)
    single = estimates(probabilities, labels, seed=3)
    for name in ("f1", "auroc", "loss"):
        assert vars(grouped[name]) == pytest.approx(vars(single[name])), name
    alone = estimates(many, repeated, 3)["accuracy"]
    assert grouped["accuracy"].high - grouped["accuracy"].low > 1.8 * (alone.high - alone.low)


def test_images_without_a_group_stand_alone() -> None:
    probabilities, labels = predictions(40, 3)
    assert estimates(probabilities, labels, 0, units=[""] * 40) == estimates(probabilities, labels, 0)


def test_what_few_images_say_has_no_bootstrap() -> None:
    few = estimates(*predictions(LEAST_GROUPS - 1, 2), seed=0)
    assert np.isnan([few["f1"].low, few["loss"].high]).all()
    assert few["accuracy"].low < few["accuracy"].value < few["accuracy"].high


def test_precision_and_recall_have_intervals_also_of_a_class_with_one_image() -> None:
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    first, second = class_figures(labels, predicted, ["a", "b"])
    assert first.precision is not None
    assert first.recall is not None
    assert second.recall is not None
    assert (first.precision.low, first.precision.high) == pytest.approx(wilson_of_scipy(2, 2))
    assert (first.recall.low, first.recall.high) == pytest.approx(wilson_of_scipy(2, 3))
    assert (second.recall.low, second.recall.high) == pytest.approx(wilson_of_scipy(1, 1))
    (grouped, _) = class_figures(labels, predicted, ["a", "b"], ["x", "x", "", ""])
    assert grouped.precision is not None
    assert (grouped.precision.low, grouped.precision.high) == pytest.approx(wilson_of_scipy(1, 1))


def test_one_class_alone_has_no_auroc() -> None:
    found = estimates(np.full((3, 2), 0.5), np.zeros(3, dtype=int), seed=0)["auroc"]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_class_figures_are_those_of_scikit_learn_and_absent_where_nothing_determines_them() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 0])
    found = class_figures(labels, predicted, ["a", "b", "c", "never"])
    expected = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2, 3], zero_division=np.nan)
    for number, row in enumerate(found):
        shares = [None if share is None else share.value for share in (row.precision, row.recall)]
        figures = [np.nan if x is None else x for x in (*shares, row.f1)]
        assert figures == pytest.approx([column[number] for column in expected[:3]], nan_ok=True)
        assert row.images == expected[3][number]
    assert found[3].f1 is None


def test_the_most_frequent_confusions_come_first() -> None:
    labels, predicted = np.array([0, 1, 1, 1, 2, 2]), np.array([1, 2, 2, 1, 0, 0])
    found = frequent_confusions(labels, predicted, ["a", "b", "c"], most=2)
    assert found == [("b", "c", 2), ("c", "a", 2)]


def test_a_temperature_acts_on_probabilities_as_on_logits() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    found = with_temperature(logits.softmax(dim=1).numpy(), 2.5)
    assert found == pytest.approx((logits / 2.5).softmax(dim=1).numpy())
