# room: features
"""`head.l2=cv`: every training image is held out once, with its group, and choices come from those alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from graft.errors import UserError
from graft.features.cross_validation import cross_validated, folds
from graft.features.dataset import FeatureDataset
from graft.features.store import KEY, FeatureStore
from tests.conftest import MakeConfig, run_checkpoint, trained


def stored(folder: Path, rows: Tensor, labels: Tensor, views: int = 1) -> FeatureDataset:
    """Features `[N * views, width]` in a store of their own."""
    store = FeatureStore(folder, rows.shape[1], "float32")
    keys = np.array([b"%016d" % number for number in range(len(rows))], KEY)
    store.add(keys, rows.numpy())
    store.refresh()
    held: Any = SimpleNamespace(keys=keys, count=views, labels=list(labels))
    return FeatureDataset(store, held)


def blobs(count: int, width: int = 6, views: int = 1) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    rows = torch.randn(count * views, width, generator=chance)
    rows[:, :3] += nn.functional.one_hot(labels.repeat_interleave(views), 3)
    return rows, labels


def test_each_image_is_held_out_once_and_groups_stay_together() -> None:
    labels = np.arange(40) % 2
    groups = [f"patient {number // 4}" for number in range(40)]

    parts = list(folds(labels, groups))

    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(40))
    for fitted, held_out in parts:
        assert not {groups[i] for i in fitted} & {groups[i] for i in held_out}
        assert abs(labels[held_out].mean() - 0.5) < 0.1


def test_the_losses_are_those_of_heads_that_have_not_seen_the_image(tmp_path: Path) -> None:
    rows, labels = blobs(90)
    groups = [str(number) for number in range(90)]

    found = cross_validated(stored(tmp_path, rows, labels), groups, 3, nn.CrossEntropyLoss())

    expected = torch.zeros(90)
    for fitted, held_out in folds(labels.numpy(), groups):
        mean, variance = rows[fitted].mean(0), rows[fitted].var(0, correction=0)
        scale = (variance + variance.median()).sqrt()
        reference = LogisticRegression(C=1 / (len(fitted) * found.strength), tol=1e-8, max_iter=1000)
        reference.fit((rows[fitted] - mean) / scale, labels[fitted])
        probabilities = reference.predict_proba((rows[held_out] - mean) / scale)
        expected[held_out] = -torch.from_numpy(np.log(probabilities))[
            torch.arange(len(held_out)), labels[held_out]
        ].float()
    torch.testing.assert_close(found.losses, expected, atol=2e-3, rtol=0)


def test_views_of_one_image_are_in_one_fold(tmp_path: Path) -> None:
    """Features that only tell the image would be remembered, not learned, across its views."""
    own = torch.eye(30).repeat_interleave(2, dim=0)
    found = cross_validated(
        stored(tmp_path, own, torch.arange(30) % 2, views=2),
        list(map(str, range(30))),
        2,
        nn.CrossEntropyLoss(),
    )

    assert float(found.losses.mean()) > 0.6
    assert len(found.losses) == 30


def test_a_part_has_some_images_first_views_and_last_features(tmp_path: Path) -> None:
    rows, labels = blobs(12, views=3)
    part = stored(tmp_path, rows, labels, views=3).part(np.array([4, 1]), views=2, width=5)

    (features, held), *rest = part.chunks(100)

    assert not rest
    assert held.tolist() == [1, 1, 1, 1]
    assert torch.equal(features, rows[[12, 13, 3, 4], -5:])
    assert torch.equal(part[0, 7][0], rows[13, -5:])  # The seed 7 of two views chooses the second.


def test_a_single_image_of_each_class_or_a_single_group_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"head\.l2=cv .* no class has two of them; write head\.l2=validation"
    ):
        list(folds(np.array([0, 1, 2]), ["a", "b", "c"]))
    with pytest.raises(UserError, match=r"head\.l2=cv .* all of them are in group 7 \(data\.keep_together"):
        list(folds(np.array([0, 0, 1]), ["group 7"] * 3))


def test_a_run_chooses_its_l2_strength_by_cross_validation_or_takes_a_number(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "graft")

    trained(make_config("head.solver=lbfgs", "head.l2=cv"))
    chosen = caplog.text.partition("L2 strength ")[2].split()[0]
    trained(make_config("head.solver=lbfgs", f"head.l2={chosen}", run="again"))

    heads = [
        run_checkpoint(tmp_path / run)["state_dict"]["classifier.head.weight"] for run in ("run", "again")
    ]
    assert torch.equal(*heads)
