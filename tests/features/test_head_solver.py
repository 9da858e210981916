# room: features
"""A solved head is the logistic regression that scikit-learn finds, and the network's weights stay."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from graft.errors import UserError
from graft.features import head_solver
from graft.features.dataset import FeatureDataset
from graft.features.extraction import as_stored
from graft.features.head_solver import mean_and_scale, minimise, refuse_shares, solve_head, with_solved_head
from graft.models.freezing import HEAD, Phase
from tests.conftest import MakeConfig, make_sample
from tests.conftest import trained as train


class Rows(FeatureDataset):
    """Features in memory, `views` rows a image."""

    def __init__(self, rows: torch.Tensor, labels: torch.Tensor, views: int = 1) -> None:
        self.rows, self.labels, self.locations = rows, labels, np.zeros((len(labels), views, 2), int)

    def chunks(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the rows in several parts, whatever `size` is."""
        del size
        labels = self.labels.repeat_interleave(self.locations.shape[1])
        for part in torch.arange(len(self.rows)).chunk(3):
            yield self.rows[part], labels[part]


def blobs(count: int, seed: int, views: int = 1) -> Rows:
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=chance)
    rows = torch.randn(count * views, 6, generator=chance) * torch.tensor([1, 5, 0.1, 1, 1, 20.0]) + 3
    rows[:, :3] += nn.functional.one_hot(labels.repeat_interleave(views), 3) * torch.tensor([1.5, 6, 0.1])
    return Rows(rows, labels, views)


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5]])
def test_the_minimum_is_scikit_learns(weights: list[float] | None) -> None:
    train_rows, strength = blobs(200, seed=1, views=2), 0.01
    mean, scale = mean_and_scale(train_rows)
    weight, bias = torch.zeros(3, 6, requires_grad=True), torch.zeros(3, requires_grad=True)
    balance = None if weights is None else torch.tensor(weights)
    minimise(weight, bias, train_rows, mean, scale, strength, nn.CrossEntropyLoss(balance))
    labels = train_rows.labels.repeat_interleave(2).numpy()
    counted = np.bincount(labels) if weights is None else np.bincount(labels) * np.array(weights)
    reference = LogisticRegression(
        C=1 / (counted.sum() * strength),
        tol=1e-8,
        max_iter=1000,
        class_weight=None if weights is None else dict(enumerate(weights)),
    )
    scaled = ((train_rows.rows - mean) / scale).numpy()
    reference.fit(scaled, labels)
    found = (torch.from_numpy(scaled) @ weight.T + bias).softmax(1).detach().numpy()
    assert np.abs(found - reference.predict_proba(scaled)).max() < 1e-3


def test_the_strength_is_the_one_with_the_lowest_validation_loss() -> None:
    few, val = blobs(12, seed=2), blobs(300, seed=3)
    losses = {}
    for strength in head_solver.STRENGTHS:
        alone = nn.Linear(6, 3)
        solve_head(alone, few, val, nn.CrossEntropyLoss(), (strength,))
        losses[strength] = nn.functional.cross_entropy(alone(val.rows), val.labels).item()
    head = nn.Linear(6, 3)
    strength = solve_head(head, few, val, nn.CrossEntropyLoss())
    assert losses[strength] == pytest.approx(min(losses.values()), abs=1e-3)
    assert nn.functional.cross_entropy(head(val.rows), val.labels).item() == pytest.approx(
        losses[strength], abs=1e-3
    )
    assert losses[strength] < losses[head_solver.STRENGTHS[-1]]


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_a_feature_that_hardly_varies_in_training_does_not_decide_elsewhere(strength: float) -> None:
    few, val = blobs(12, seed=2), blobs(300, seed=3)
    quiet = torch.full((12, 1), 0.5)
    quiet[0] += 0.001  # As of a channel that only other images activate.
    few.rows = torch.cat([few.rows, quiet], dim=1)
    val.rows = torch.cat([val.rows, torch.full((300, 1), 0.5)], dim=1)
    head = nn.Linear(7, 3)
    solve_head(head, few, val, nn.CrossEntropyLoss(), (strength,))
    activated = val.rows + torch.tensor([0.0] * 6 + [3])
    assert (head(activated) - head(val.rows)).abs().max() < 0.5


def test_features_that_never_vary_are_left_as_they_are() -> None:
    same = Rows(torch.full((9, 4), 2.0), torch.arange(9) % 3)
    mean, scale = mean_and_scale(same)
    assert mean.tolist() == [2.0] * 4
    assert scale.tolist() == [1.0] * 4


def test_a_run_solves_its_head_and_keeps_the_backbone(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "graft"):
        metrics = train(make_config("head.solver=lbfgs", "trainer.max_epochs=9"))
    assert metrics["epoch"] == 1
    assert "epoch 1/1 " in caplog.text
    assert metrics["test/accuracy"] == 1.0
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["graft"]["head"] == {"dropout": 0.0, "hidden": None}


def test_fine_tuning_starts_from_the_solved_head_and_counts_its_epochs(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ("finetuning=lp_ft", "finetuning.schedule.probe_epochs=2", "trainer.max_epochs=3")
    with caplog.at_level(logging.INFO, "graft"):
        metrics = train(make_config("head.solver=lbfgs", *settings))
    assert metrics["epoch"] == 2
    assert "epoch 1/2 " in caplog.text
    assert "epoch 2/2 " in caplog.text


def test_features_that_give_no_finite_loss_are_an_error_and_no_random_head() -> None:
    broken = blobs(30, seed=4)
    broken.rows[0] = torch.inf
    with pytest.raises(UserError, match=r"feature that is not finite.*features\.dtype=float32"):
        solve_head(nn.Linear(6, 3), broken, blobs(30, seed=5), nn.CrossEntropyLoss())
    with pytest.raises(UserError, match=r"no L2 strength gives a finite val/loss.*features\.dtype=float32"):
        solve_head(nn.Linear(6, 3), blobs(30, seed=5), broken, nn.CrossEntropyLoss())


def test_features_too_large_for_float16_are_refused() -> None:
    assert np.array_equal(as_stored(np.array([1, 65504], np.float32), np.dtype("float16")), [1, 65504])
    with pytest.raises(UserError, match=r"70000 is too large.*features\.dtype=float32"):
        as_stored(np.array([1, 70000], np.float32), np.dtype("float16"))


def test_what_cannot_be_solved_is_refused(make_config: MakeConfig) -> None:
    phases, head, loss = [Phase("head", (HEAD,), 5)], nn.Linear(2, 2), nn.CrossEntropyLoss()
    with pytest.raises(UserError, match=r"head\.solver=newton: write lbfgs"):
        with_solved_head(phases, "newton", head, None, loss)
    with pytest.raises(UserError, match=r"head\.hidden"):
        with_solved_head(phases, "lbfgs", nn.Sequential(nn.Dropout(), nn.Linear(2, 2)), None, loss)
    with pytest.raises(UserError, match=r"is convolutional; write head\.solver=null or another model\.name"):
        with_solved_head(phases, "lbfgs", nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten()), None, loss)
    with pytest.raises(UserError, match="freeze=true"):
        with_solved_head([Phase("everything", ("stem", HEAD), 5)], "lbfgs", head, None, loss)
    with pytest.raises(UserError, match="learning_rate=auto"):
        with_solved_head(phases, "lbfgs", head, "auto", loss)
    with pytest.raises(UserError, match=r"head\.solver=lbfgs fits the head to cached features"):
        train(make_config("head.solver=lbfgs", "features.cache=false"))


class Focal(nn.CrossEntropyLoss):
    """A loss that L-BFGS does not minimise."""


@pytest.mark.parametrize("loss", [Focal(), nn.MSELoss()])
def test_another_loss_than_cross_entropy_is_refused(loss: nn.Module) -> None:
    name = type(loss).__name__
    with pytest.raises(UserError, match=rf"not {name}; write head\.solver=null or loss=cross_entropy"):
        with_solved_head([Phase("head", (HEAD,), 5)], "lbfgs", nn.Linear(2, 2), None, loss)


@pytest.mark.parametrize(
    "labels", [torch.zeros(30, 3), torch.zeros(30), torch.zeros(30, 1, dtype=torch.int64)]
)
def test_labels_that_are_not_one_class_per_image_are_refused(labels: torch.Tensor) -> None:
    rows = Rows(torch.randn(30, 6), labels)
    with pytest.raises(UserError, match=r"solver=lbfgs is for task=multiclass; write head\.solver=null"):
        solve_head(nn.Linear(6, 3), rows, rows, nn.CrossEntropyLoss())


def test_a_loss_that_it_does_not_minimise_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r"head\.solver=lbfgs minimises cross-entropy, not FocalLoss"):
        train(make_config("loss=focal", "head.solver=lbfgs"))


def test_images_that_would_be_drawn_more_often_than_others_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r"counts every training image once: .*loss\.class_weights=balanced"):
        train(make_config("head.solver=lbfgs", "data.balanced=true"))
    weighted = [make_sample("1.jpg", "a"), make_sample("2.jpg", "b", weight=2.0)]
    with pytest.raises(UserError, match=r"head\.solver=lbfgs counts .* leave data\.weight_column out"):
        refuse_shares(weighted, False, "head.solver=lbfgs")
    refuse_shares(weighted[:1], False, "head.solver=lbfgs")
