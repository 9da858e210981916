"""Metrics mean what they say, also where a split lacks a class."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from graft.metrics import classification_metrics


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
