"""Fits a linear head to stored features to convergence, by L-BFGS instead of a fixed number of steps.

This is multinomial logistic regression with an L2 penalty whose strength is chosen on the validation split:
the strongest linear probe there is, and a head for `lp_ft` that no more epochs would improve.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.errors import UserError
from graft.features.dataset import FeatureDataset
from graft.models.freezing import HEAD, Phase

log = logging.getLogger(__name__)

STRENGTHS = tuple(
    10.0**exponent for exponent in range(0, -7, -1)
)  # strong to weak: each starts from the last
ROWS = 8192  # features in memory at once
MOST_ITERATIONS = 200
FLAT = 1e-5  # largest entry of the gradient at which the fit has converged
REMEDY = "Write features.dtype=float32, or look at the images and at model.weights."
SMALLEST_SPREAD = 1e-6  # A feature that varies less is not scaled up.


def with_solved_head(
    phases: Sequence[Phase], solver: str | None, head: nn.Module, learning_rate: float | str | None
) -> list[Phase]:
    """Return the phases; with `solver=lbfgs`, the first one's head is solved instead of learning by steps.

    That phase then has one epoch with rate 0, in which the head is measured and saved. Raises UserError where
    that cannot be.
    """
    if solver is None:
        return list(phases)
    if solver != "lbfgs":
        raise UserError(f"head.solver={solver}: write lbfgs or null.")
    if phases[0].learns != (HEAD,):
        raise UserError("head.solver=lbfgs fits the head of a frozen backbone; write freeze=true or lp_ft.")
    if not isinstance(head, nn.Linear):
        raise UserError("head.solver=lbfgs fits a plain linear head: leave head.hidden and head.dropout out.")
    if learning_rate == "auto":
        raise UserError("learning_rate=auto finds the rate of a head that learns by steps; leave it out.")
    return [replace(phases[0], epochs=1, rate=0.0, patience=None, is_solved=True), *phases[1:]]


def solve_head(
    head: nn.Linear,
    train: FeatureDataset,
    val: FeatureDataset,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> float:
    """Give the head the weights that fit all views of the training features best; return their L2 strength.

    The loss is mean cross-entropy plus half the strength times the squared weights of features that are
    scaled to a spread of 1. The strength is the one with the lowest cross-entropy on `val`. Raises UserError
    where no strength gives a finite one.
    """
    began = time.monotonic()
    weights = None if class_weights is None else class_weights.cpu()
    mean, spread = moments(train)
    if not (mean.isfinite().all() and spread.isfinite().all()):
        raise UserError(f"head.solver=lbfgs: a training image has a feature that is not finite. {REMEDY}")
    weight = torch.zeros(head.weight.shape, requires_grad=True)
    bias = torch.zeros(head.out_features, requires_grad=True)
    best: tuple[float, float, Tensor, Tensor] = (float("inf"), 0.0, head.weight, head.bias)
    rises = 0
    for strength in STRENGTHS:
        minimise(weight, bias, train, mean, spread, strength, label_smoothing, weights)
        plain = (weight.detach() / spread, bias.detach() - weight.detach() / spread @ mean)
        loss = mean_loss(val, *plain)
        rises = rises + 1 if loss >= best[0] else 0
        if loss < best[0]:
            best = (loss, strength, *plain)
        if rises == 2:
            break  # Weaker ones only overfit more.
    if not math.isfinite(best[0]):
        raise UserError(f"head.solver=lbfgs: no L2 strength gives a finite val/loss. {REMEDY}")
    with torch.no_grad():
        head.weight.copy_(best[2])
        head.bias.copy_(best[3])
    seconds = time.monotonic() - began
    log.info("head       solved in %.1f s: L2 strength %g, val/loss %.4f", seconds, best[1], best[0])
    return best[1]


def minimise(
    weight: Tensor,
    bias: Tensor,
    train: FeatureDataset,
    mean: Tensor,
    spread: Tensor,
    strength: float,
    label_smoothing: float,
    class_weights: Tensor | None,
) -> None:
    """Move `weight` `[classes, width]` and `bias` `[classes]`, of scaled features, to the minimum."""
    counts = torch.bincount(train.labels, minlength=len(bias)).float() * train.places.shape[1]
    total = float((counts if class_weights is None else counts * class_weights).sum())
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MOST_ITERATIONS,
        tolerance_grad=FLAT,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        penalty = strength / 2 * weight.square().sum()
        penalty.backward()
        loss = penalty.item()
        for features, labels in train.chunks(ROWS):
            scaled = weight / spread
            part = F.cross_entropy(
                features @ scaled.T + (bias - scaled @ mean),
                labels,
                weight=class_weights,
                label_smoothing=label_smoothing,
                reduction="sum",
            )
            (part / total).backward()
            loss += part.item() / total
        return loss

    with torch.enable_grad():
        optimizer.step(closure)


def moments(features: FeatureDataset) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation `[width]` of every feature; 1 where it hardly varies."""
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for rows, _ in features.chunks(ROWS):
        count += len(rows)
        total = total + rows.double().sum(dim=0)
        squares = squares + rows.double().square().sum(dim=0)
    mean = total / count
    spread = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(spread < SMALLEST_SPREAD, 1.0, spread).float()


def mean_loss(features: FeatureDataset, weight: Tensor, bias: Tensor) -> float:
    """Return the mean cross-entropy of a linear head."""
    losses = [
        F.cross_entropy(F.linear(rows, weight, bias), labels, reduction="none")
        for rows, labels in features.chunks(ROWS)
    ]
    return float(torch.cat(losses).mean())
