# room: features
"""Decides whether a phase is trained on cached features, and gets them."""

from collections.abc import Sequence

import lightning as L
from torch import nn

from graft.data.module import ImageDataModule
from graft.data.splits import group_of
from graft.errors import UserError
from graft.features.cache import FeatureCache
from graft.features.cross_validation import cross_validated
from graft.features.dataset import FeatureDataset
from graft.features.head_solver import STRENGTHS, solve_head
from graft.training.callbacks.averaging import ExponentialMovingAverage
from graft.training.lightning_internals import callbacks_of
from graft.training.module import TransferModule


def cached_features(
    trainer: L.Trainer,
    module: TransferModule,
    data: ImageDataModule,
    cache: FeatureCache,
    splits: Sequence[str],
) -> dict[str, FeatureDataset]:
    """Return the cached features of the splits for the module's phase, none where it reads images.

    With an average of the weights, features of layers that are frozen now and were trainable before are not
    those of the network that is validated and saved. Raises UserError where `features.cache=true` asks for
    them all the same.
    """
    before = module.phases[: module.position.phase]
    averages = any(callbacks_of(trainer, ExponentialMovingAverage))
    if averages and any(set(earlier.trainable) - set(module.phase.trainable) for earlier in before):
        if cache.cache is True:
            raise UserError(
                "features.cache=true: callbacks=ema averages layers that are trainable first and frozen "
                "later: their features are not those of the network that is saved; write features.cache=auto."
            )
        return {}
    mixes = module.mix is not None
    return cache.features(module.classifier, data, trainer, module.phase, splits, mixes)


def solve(module: TransferModule, data: ImageDataModule) -> None:
    """Fit the head to the cached features at once; UserError where there are none."""
    if not data.features:
        raise UserError(
            "head.solver=lbfgs fits the head to cached features, which these settings do not allow; "
            "features.cache=true says why."
        )
    head, loss = module.classifier.head, module.loss
    assert isinstance(head, nn.Linear)
    assert isinstance(loss, nn.CrossEntropyLoss)
    train, val = (data.features[split] for split in ("train", "val"))
    assert isinstance(train, FeatureDataset)
    assert isinstance(val, FeatureDataset)
    l2 = module.phase.solved_l2
    assert l2 is not None
    if l2 == "cv":
        groups = [group_of(sample) for sample in data.images.samples["train"]]
        l2 = cross_validated(train, groups, head.out_features, loss).strength
    solve_head(head, train, val, loss, STRENGTHS if isinstance(l2, str) else (l2,))
