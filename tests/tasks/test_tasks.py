"""Each task reads targets, measures, decides, and survives a checkpoint."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, r2_score
from torch import nn

from graft.errors import UserError
from graft.tasks.losses import FocalLoss
from graft.tasks.multilabel import Multilabel
from graft.tasks.regression import Regression
from graft.tasks.task import Task, task_from, with_enough
from tests.conftest import task_of


def fitted_multilabel() -> Multilabel:
    task = task_of("multilabel", ()).fitted([("a",), ("a", "b"), (), ("b",)], ["a", "b"])
    assert isinstance(task, Multilabel)
    return task


def fitted_regression(*columns: str) -> Regression:
    rows = [tuple(str(number * (1 + index)) for index, _ in enumerate(columns)) for number in (1, 2, 6)]
    task = task_of("regression", ()).fitted(rows, columns)
    assert isinstance(task, Regression)
    return task


def test_labels_come_from_columns_from_a_separated_cell_and_from_json() -> None:
    task = task_of("multilabel", ())
    assert task.read({"cat": "1", "dog": "0", "cow": "True"}) == ("cat", "cow")
    assert task.read({"tags": "dog; cat;;dog"}) == ("cat", "dog")
    assert task.read({"tags": '{"choices": ["b", "a"]}'}) == ("a", "b")
    assert task.read({"tags": ""}) == ()
    assert task.read({"tags": '{"choices": [2, 1, null]}'}) == ("1", "2")
    with pytest.raises(ValueError, match="cat is 'maybe', neither 1 nor 0"):
        task.read({"cat": "maybe", "dog": "1"})


def test_one_column_of_yes_and_no_holds_no_labels() -> None:
    with pytest.raises(UserError, match=r"have no labels but 0, 1: .*task=multiclass"):
        task_of("multilabel", ()).fitted([("1",), ("0",)], ["cat"])


@pytest.mark.parametrize("text", ["tall", "", "nan", "inf"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"height is .*, not a number"):
        task_of("regression", ()).read({"height": text})


def test_the_rarer_of_two_classes_is_the_positive_one() -> None:
    def positive(*classes: str) -> object:
        return vars(task_of("multiclass", ()).fitted([(name,) for name in classes], []))["positive"]

    assert positive("sick", "well", "well") == "sick"
    assert positive("sick", "sick", "well") == "well"
    assert positive("sick", "well") == "well"
    assert positive("a", "b", "c") is None


def test_a_class_must_not_be_empty() -> None:
    task = task_of("multiclass", ())
    assert task.read({"label": " cat "}) == ("cat",)
    with pytest.raises(ValueError, match="empty"):
        task.read({"label": " "})


@pytest.mark.parametrize(
    "task", [task_of("multiclass", ("x", "y")), fitted_multilabel(), fitted_regression("height", "width")]
)
def test_a_task_is_the_same_after_a_checkpoint(task: Task) -> None:
    assert task_from(task.describe()) == task


def test_a_checkpoint_imports_nothing_from_packages_that_are_not_allowed() -> None:
    description = task_of("multiclass", ("x", "y")).describe()
    description["metrics"] = {"own": {"_target_": "json.dumps"}}
    with pytest.raises(
        UserError, match="the package json is not imported without permission: write allow=\\[json\\]"
    ):
        task_from(description)
    assert task_from(description, ["json"]).columns == ("x", "y")


def test_thresholds_are_those_with_the_highest_f1_and_metrics_use_them() -> None:
    torch.manual_seed(0)
    targets = (torch.rand(200, 2) < 0.2).float()
    logits = 2 * targets + torch.randn(200, 2) - 3
    task, figures = fitted_multilabel().decided(logits, targets, calibrate=False)
    assert set(figures) == {"threshold/a", "threshold/b"}
    probabilities = logits.sigmoid()
    for index, threshold in enumerate(task.thresholds):
        best = f1_score(targets[:, index], probabilities[:, index] >= threshold)
        others = [f1_score(targets[:, index], probabilities[:, index] >= t) for t in torch.rand(50)]
        assert best >= max(others)
    metrics = task.build_metrics()
    metrics.update(task.scores(logits), task.metric_targets(targets))
    found = metrics.compute()
    decided = probabilities >= torch.tensor(task.thresholds)
    assert found["f1"].item() == pytest.approx(f1_score(targets, decided, average="macro"))
    expected = average_precision_score(targets, probabilities, average="macro")
    assert found["average_precision"].item() == pytest.approx(expected, abs=1e-5)
    assert task.answer([1.0, 0.0]) == "a"
    assert task.answer([1.0, 1.0]) == "a;b"


def test_a_number_is_learned_normalised_and_given_back_in_its_unit() -> None:
    task = fitted_regression("height")
    assert task.mean == (3.0,)
    targets = torch.tensor([[1.0], [2.0], [6.0]])
    normalised = task.normalised(targets)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-6)
    assert normalised.std(correction=0).item() == pytest.approx(1)
    assert torch.allclose(task.predict(normalised), targets)
    assert task.plain_loss(normalised, targets).item() == pytest.approx(0, abs=1e-10)
    loss = task.training_loss({"_target_": "torch.nn.L1Loss"}, [])
    assert loss(normalised + 1, targets).item() == pytest.approx(1)
    assert task.answer(task.predict(normalised)[2].tolist()) == "6"


def test_regression_metrics_are_in_the_unit_also_of_several_targets() -> None:
    for columns in (("height",), ("height", "width")):
        task = fitted_regression(*columns)
        targets = torch.rand(30, len(columns)) * 10
        predicted = targets + torch.randn(30, len(columns))
        logits = task.normalised(predicted)
        metrics = task.build_metrics()
        metrics.update(task.scores(logits), task.metric_targets(targets))
        found = {name: float(value) for name, value in metrics.compute().items()}
        assert found["mae"] == pytest.approx((predicted - targets).abs().mean().item(), rel=1e-4)
        assert found["rmse"] == pytest.approx((predicted - targets).square().mean().sqrt().item(), rel=1e-4)
        assert found["r2"] == pytest.approx(r2_score(targets, predicted), rel=1e-3)
        assert 0.8 < found["spearman"] <= 1


def test_targets_that_are_all_equal_are_refused() -> None:
    with pytest.raises(UserError, match="all training images have the same height"):
        task_of("regression", ()).fitted([("1",), ("1.0",)], ["height"])


@pytest.mark.parametrize(
    ("task", "loss", "instead"),
    [
        (task_of("multiclass", ("x", "y")), "torch.nn.BCEWithLogitsLoss", "cross_entropy or focal"),
        (task_of("multiclass", ("x", "y")), "torch.nn.MSELoss", "cross_entropy or focal"),
        (fitted_multilabel(), "torch.nn.CrossEntropyLoss", "binary_cross_entropy or focal"),
        (fitted_regression("height"), "torch.nn.CrossEntropyLoss", "mse, mae or huber"),
    ],
)
def test_a_loss_for_another_kind_of_target_is_refused(task: Task, loss: str, instead: str) -> None:
    with pytest.raises(UserError, match=f"does not fit task={task.name}: write loss={instead}"):
        task.training_loss({"_target_": loss}, [])


def test_balanced_classes_count_the_same_in_the_loss() -> None:
    task = task_of("multiclass", ("x", "y"))
    targets = [("x",), ("y",), ("y",), ("y",)]
    loss = task.training_loss({"_target_": "torch.nn.CrossEntropyLoss", "class_weights": "balanced"}, targets)
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert loss.weight is not None
    assert loss.weight.tolist() == pytest.approx([4 / 2, 4 / 6])
    labels = fitted_multilabel().class_weights([("a",), ("a",), ("a", "b"), ()])
    assert labels["pos_weight"].tolist() == pytest.approx([1 / 3, 3])
    with pytest.raises(UserError, match="class_weights=balanced is for classes"):
        fitted_regression("height").class_weights([])


def test_focal_loss_is_cross_entropy_at_gamma_0_and_less_for_what_is_right() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 3), torch.randint(3, (8,))
    weight = torch.tensor([1.0, 2.0, 3.0])
    plain = nn.functional.cross_entropy(logits, labels, weight=weight)
    assert FocalLoss(0.0, weight)(logits, labels).item() == pytest.approx(plain.item())
    assert FocalLoss(2.0, weight)(logits, labels) < plain
    several = torch.randint(2, (8, 3)).float()
    binary = nn.functional.binary_cross_entropy_with_logits(logits, several)
    assert FocalLoss(0.0)(logits, several).item() == pytest.approx(binary.item())
    right = torch.full((1, 3), 10.0)
    assert FocalLoss(2.0)(right, torch.ones(1, 3)).item() == pytest.approx(0, abs=1e-9)


def test_strata_are_large_enough_to_be_split() -> None:
    assert with_enough(["a"] * 12 + ["b"] * 11 + ["c", "d"], 10) == ["a"] * 12 + ["b"] * 11 + ["a", "a"]
    assert with_enough(["a", "b"], 10) == ["rest", "rest"]
    numbers = [(str(number % 4),) for number in range(400)]
    strata = fitted_regression("height").strata(numbers)
    assert len({(number, stratum) for number, stratum in zip(numbers, strata, strict=True)}) <= 4
    assert not math.isnan(float(numbers[0][0]))
