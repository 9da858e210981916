"""The figures of the report are those of scikit-learn, and their intervals behave."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from graft.metrics import classification_metrics
from graft.reporting.report.statistics import (
    WeightedMetrics,
    bootstrap_estimates,
    class_figures,
    frequent_confusions,
    with_temperature,
)


def predictions(pictures: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right more often than not, some of them equal, and labels."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(classes, size=pictures)
    logits = chance.normal(size=(pictures, classes)).round(1)
    logits[np.arange(pictures), labels] += 1
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("classes", [2, 5])
def test_the_values_are_those_of_scikit_learn(classes: int) -> None:
    probabilities, labels = predictions(200, classes)
    found = bootstrap_estimates(probabilities, labels, seed=0, resamples=10)
    predicted = probabilities.argmax(axis=1)
    areas = [roc_auc_score(labels == number, probabilities[:, number]) for number in range(classes)]
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "f1": f1_score(labels, predicted, average="macro"),
        "auroc": np.mean(areas),
        "loss": log_loss(labels, probabilities),
    }
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(expected)


def test_the_values_are_those_of_the_run_where_a_class_has_no_pictures() -> None:
    probabilities, labels = predictions(60, 4)
    labels = labels % 3
    metrics = classification_metrics(4)
    metrics.update(torch.from_numpy(probabilities), torch.from_numpy(labels))
    found = bootstrap_estimates(probabilities, labels, seed=0, resamples=10)
    for name, value in metrics.compute().items():
        assert found[name].value == pytest.approx(float(value), abs=1e-6), name


def test_a_weight_of_two_is_a_picture_twice() -> None:
    probabilities, labels = predictions(40, 3)
    weights = np.random.default_rng(1).integers(3, size=(1, 40))
    repeated = np.repeat(np.arange(40), weights[0])
    weighted = WeightedMetrics(probabilities, labels)
    plain = WeightedMetrics(probabilities[repeated], labels[repeated])
    every = np.ones((1, len(repeated)))
    for name in ("accuracy", "f1", "auroc", "loss"):
        assert getattr(weighted, name)(weights.astype(float)) == pytest.approx(getattr(plain, name)(every))


def test_intervals_hold_their_value_narrow_with_more_pictures_and_repeat() -> None:
    few, many = (bootstrap_estimates(*predictions(count, 3), seed=7) for count in (60, 960))
    for name in few:
        for estimate in (few[name], many[name]):
            assert estimate.low < estimate.value < estimate.high
        # Sixteen times the pictures: a quarter of the width.
        assert 0.15 < (many[name].high - many[name].low) / (few[name].high - few[name].low) < 0.4
    assert bootstrap_estimates(*predictions(60, 3), seed=7) == few
    assert bootstrap_estimates(*predictions(60, 3), seed=8) != few


def test_a_model_without_mistakes_has_an_interval_of_no_width() -> None:
    found = bootstrap_estimates(np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1]), seed=0)
    assert (found["accuracy"].low, found["accuracy"].high) == (1, 1)
    assert found["auroc"].value == 1


def test_one_class_alone_has_no_auroc() -> None:
    found = bootstrap_estimates(np.full((3, 2), 0.5), np.zeros(3, dtype=int), seed=0)["auroc"]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_class_figures_are_those_of_scikit_learn_and_absent_where_nothing_determines_them() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 0])
    found = class_figures(labels, predicted, ["a", "b", "c", "never"])
    expected = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2, 3], zero_division=np.nan)
    for number, row in enumerate(found):
        figures = [np.nan if x is None else x for x in (row.precision, row.recall, row.f1)]
        assert figures == pytest.approx([column[number] for column in expected[:3]], nan_ok=True)
        assert row.pictures == expected[3][number]
    assert found[3].f1 is None


def test_the_most_frequent_confusions_come_first() -> None:
    labels, predicted = np.array([0, 1, 1, 1, 2, 2]), np.array([1, 2, 2, 1, 0, 0])
    found = frequent_confusions(labels, predicted, ["a", "b", "c"], most=2)
    assert found == [("b", "c", 2), ("c", "a", 2)]


def test_a_temperature_acts_on_probabilities_as_on_logits() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    found = with_temperature(logits.softmax(dim=1).numpy(), 2.5)
    assert found == pytest.approx((logits / 2.5).softmax(dim=1).numpy())
