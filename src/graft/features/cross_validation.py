"""Cross-validation of a linear head on cached features: its L2 strength, and what to expect of new images."""

import logging
import time
import warnings
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from graft.errors import UserError
from graft.features.dataset import FeatureDataset
from graft.features.head_solver import STRENGTHS, fitted_heads

log = logging.getLogger(__name__)

FOLDS = 5


@dataclass(frozen=True)
class CrossValidation:
    """The L2 strength with the lowest loss, and how each training image did while it was held out."""

    strength: float
    losses: Tensor  # plain cross-entropy [N] of the images as evaluation sees them
    is_right: Tensor  # [N]

    @property
    def accuracy(self) -> float:
        return float(self.is_right.float().mean())


def cross_validated(
    train: FeatureDataset, groups: Sequence[str], classes: int, loss: nn.CrossEntropyLoss
) -> CrossValidation:
    """Fit heads to all views of four fifths of the images, five times, and measure them on the others.

    Images with the same entry in `groups` `[N]` stay together. Raises UserError where there are too few.
    """
    began = time.monotonic()
    losses = torch.full((len(STRENGTHS), len(train)), torch.inf)
    is_right = torch.zeros(len(STRENGTHS), len(train), dtype=torch.bool)
    for fitted, held_out in folds(train.labels.numpy(), groups):
        others = train.part(held_out, views=1)
        for number, fit in enumerate(fitted_heads(train.part(fitted), others, classes, loss)):
            losses[number, held_out], is_right[number, held_out] = fit.losses, fit.is_right
    best = int(losses.mean(dim=1).nan_to_num(torch.inf).argmin())
    found = CrossValidation(STRENGTHS[best], losses[best], is_right[best])
    log.info(
        "head       L2 strength %g by cross-validation in %.1f s: accuracy %.3f of training images held out",
        found.strength,
        time.monotonic() - began,
        found.accuracy,
    )
    return found


def folds(labels: np.ndarray, groups: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of the images to fit to and of those held out, classes and groups kept in balance."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # Takes a while to import.

    if reason := obstacle(labels.tolist(), groups):
        raise UserError(f"head.l2=cv holds training images out, but {reason}; write head.l2=validation.")
    is_grouped = len(set(groups)) < len(groups)
    number = min(FOLDS, len(set(groups)), int(np.bincount(labels).max()))
    splitter = (StratifiedGroupKFold if is_grouped else StratifiedKFold)(number, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A class may have fewer images than there are folds.
        yield from splitter.split(labels, labels, groups)


def obstacle(classes: Sequence[Hashable], groups: Sequence[str]) -> str | None:
    """Return why no images of these classes and groups `[N]` can be held out; None where some can."""
    if len(set(groups)) == 1:
        return f"all of them are in {groups[0]} (data.keep_together or data.group_column)"
    if max(Counter(classes).values()) == 1:
        return "no class has two of them"
    return None
