"""Metrics mean what they say, also where a split lacks a class."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, r2_score, roc_auc_score
from torchmetrics import MetricCollection

from graft.tasks.measurements import MOST_WAITING, Measurements
from tests.conftest import task_of


def classification_metrics(classes: int) -> MetricCollection:
    return task_of("multiclass", [str(number) for number in range(classes)]).build_metrics()


@pytest.mark.parametrize("classes_that_occur", [(0, 1, 2, 3), (0, 2, 3)])
def test_metrics_are_scikit_learns_over_the_classes_that_occur(classes_that_occur: tuple[int, ...]) -> None:
    chance = np.random.default_rng(0)
    labels = chance.choice(classes_that_occur, 60)
    shares = chance.dirichlet(np.ones(4), 60).astype(np.float32)
    metrics = classification_metrics(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.update(torch.from_numpy(shares), torch.from_numpy(labels))
        found = metrics.compute()
    areas = [roc_auc_score(labels == number, shares[:, number]) for number in classes_that_occur]
    assert found["auroc"].item() == pytest.approx(np.mean(areas))
    assert found["accuracy"].item() == pytest.approx(accuracy_score(labels, shares.argmax(1)))
    assert found["f1"].item() == pytest.approx(f1_score(labels, shares.argmax(1), average="macro"))


def test_no_auroc_is_made_up_where_one_class_occurs() -> None:
    metrics = classification_metrics(2)
    metrics.update(torch.tensor([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 1]))
    assert metrics.compute()["auroc"].isnan()


def test_average_precision_leaves_out_a_label_that_no_image_has() -> None:
    chance = np.random.default_rng(0)
    true, shares = chance.integers(0, 2, (30, 3)), chance.random((30, 3)).astype(np.float32)
    true[:, 1] = 0
    metrics = task_of("multilabel", ("a", "b", "c"), thresholds=[0.5] * 3).build_metrics()
    metrics.update(torch.from_numpy(shares), torch.from_numpy(true))
    expected = [average_precision_score(true[:, number], shares[:, number]) for number in (0, 2)]
    assert metrics.compute()["average_precision"].item() == pytest.approx(np.mean(expected))


def test_the_explained_variance_is_right_far_from_zero_and_none_of_one_image() -> None:
    chance = np.random.default_rng(0)
    years = 2000 + chance.normal(size=(500, 2)).astype(np.float32)
    predicted = years + 0.5 * chance.normal(size=(500, 2)).astype(np.float32)
    metrics = task_of("regression", ("built", "sold"), mean=[2000.0] * 2, std=[1.0] * 2).build_metrics()
    metrics.update(torch.from_numpy(predicted), torch.from_numpy(years))
    assert metrics.compute()["r2"].item() == pytest.approx(r2_score(years, predicted), abs=1e-3)
    metrics.reset()
    metrics.update(torch.from_numpy(predicted[:1]), torch.from_numpy(years[:1]))
    assert metrics.compute()["r2"].isnan()


def test_batches_that_wait_are_measured_as_if_each_had_been_at_once() -> None:
    torch.manual_seed(0)
    measured, at_once = (
        Measurements(task_of("multiclass", ["a", "b", "c"]), "val/"),
        classification_metrics(3),
    )
    weighed = count = 0.0
    for number in range(MOST_WAITING + 2):
        labels = torch.randint(3, (2 + number % 3,))
        shares, loss = torch.randn(len(labels), 3).softmax(dim=1), torch.rand(())
        measured.add(loss, shares, labels)
        at_once.update(shares, labels)
        weighed, count = weighed + loss.item() * len(labels), count + len(labels)
    assert 0 < len(measured.waiting) < MOST_WAITING
    measured.update()
    found = measured.metrics.compute()
    assert {name: found[f"val/{name}"] for name in at_once} == at_once.compute()
    assert measured.loss.compute().item() == pytest.approx(weighed / count)
