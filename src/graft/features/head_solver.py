"""Fits a linear head to cached features to convergence, by L-BFGS instead of a fixed number of steps.

This is multinomial logistic regression with an L2 penalty, whose strength is selected on other images.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.sample import Sample
from graft.errors import UserError
from graft.features.dataset import FeatureDataset
from graft.models.freezing import HEAD, Phase

log = logging.getLogger(__name__)

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # Strong to weak: each starts from the last.
CHUNK = 8192  # features in memory at once
MAX_ITERATIONS = 200
TOLERANCE = 1e-5  # largest entry of the gradient at which the fit has converged
REMEDY = "Write features.dtype=float32, or look at the images and at model.weights."
SMALLEST_STD = 1e-6  # A feature whose standard deviation is below this does not vary.


def with_solved_head(
    phases: Sequence[Phase],
    solver: str | None,
    head: nn.Module,
    learning_rate: float | str | None,
    loss: nn.Module,
    l2: str | float = "validation",
) -> list[Phase]:
    """Return the phases; with `solver=lbfgs`, the first one solves its head instead of training it by steps.

    That phase has one epoch with learning rate 0, in which the head is measured and saved. Raises UserError
    where the phase, the head or the loss does not allow it.
    """
    if solver is None:
        return list(phases)
    if solver != "lbfgs":
        raise UserError(f"head.solver={solver}: write lbfgs or null.")
    if phases[0].trainable != (HEAD,):
        raise UserError("head.solver=lbfgs fits the head of a frozen backbone; write freeze=true or lp_ft.")
    if any(isinstance(layer, nn.Conv2d) for layer in head.modules()):
        raise UserError(
            "head.solver=lbfgs fits a linear head, and that of this network is convolutional; write "
            "head.solver=null or another model.name."
        )
    if not isinstance(head, nn.Linear):
        raise UserError("head.solver=lbfgs fits a plain linear head: leave head.hidden and head.dropout out.")
    if learning_rate == "auto":
        raise UserError("learning_rate=auto is for a head that is trained by steps; leave it out.")
    if type(loss) is not nn.CrossEntropyLoss:  # Subclasses compute something else.
        raise UserError(
            f"head.solver=lbfgs minimises cross-entropy, not {type(loss).__name__}; "
            "write head.solver=null or loss=cross_entropy."
        )
    return [replace(phases[0], epochs=1, rate_factor=0.0, patience=None, solved_l2=l2), *phases[1:]]


def refuse_shares(samples: Sequence[Sample], balanced: bool, asked: str) -> None:
    """Raise a UserError where some training images would be drawn more often than others.

    A solved head counts each once. `balanced` is `data.balanced`, `asked` the setting that solves heads.
    """
    if balanced:
        raise UserError(
            f"{asked} counts every training image once: write loss.class_weights=balanced in place of "
            "data.balanced=true."
        )
    if any(sample.weight != 1 for sample in samples):
        raise UserError(f"{asked} counts every training image once: leave data.weight_column out.")


@dataclass(frozen=True)
class Fit:
    """A head fitted with one L2 strength, and how it does on other images."""

    strength: float
    weight: Tensor  # [classes, width]
    bias: Tensor  # [classes]
    losses: Tensor  # plain cross-entropy of each row [N] of the other images
    is_right: Tensor  # [N]

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def solve_head(
    head: nn.Linear,
    train: FeatureDataset,
    val: FeatureDataset,
    loss: nn.CrossEntropyLoss,
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """Give the head the weights that minimise `loss` over all training views; return their L2 strength.

    Of several strengths, the one with the lowest plain cross-entropy on `val` is taken. Raises UserError
    for labels that are not classes `[N]`, and where no strength gives a finite cross-entropy.
    """
    began = time.monotonic()
    fits = list(fitted_heads(train, val, head.out_features, loss, strengths))
    best = min(fits, key=lambda fit: fit.loss if math.isfinite(fit.loss) else math.inf)
    if not math.isfinite(best.loss):
        raise UserError(f"head.solver=lbfgs: no L2 strength gives a finite val/loss. {REMEDY}")
    with torch.no_grad():
        head.weight.copy_(best.weight)
        head.bias.copy_(best.bias)
    seconds = time.monotonic() - began
    log.info("head       solved in %.1f s: L2 strength %g, val/loss %.4f", seconds, best.strength, best.loss)
    return best.strength


def fitted_heads(
    train: FeatureDataset,
    val: FeatureDataset,
    classes: int,
    loss: nn.CrossEntropyLoss,
    strengths: Sequence[float] = STRENGTHS,
) -> Iterator[Fit]:
    """Yield the heads that minimise `loss` on all views of `train`, from strong to weak L2.

    Minimised is `loss` plus half the strength times the squared weights of features that are scaled: see
    `mean_and_scale`. It ends when the cross-entropy on `val` has risen twice in turn.
    """
    if train.labels.ndim != 1 or train.labels.dtype != torch.int64:
        raise UserError("head.solver=lbfgs is for task=multiclass; write head.solver=null.")
    mean, scale = mean_and_scale(train)
    if not (mean.isfinite().all() and scale.isfinite().all()):
        raise UserError(f"head.solver=lbfgs: a training image has a feature that is not finite. {REMEDY}")
    weight = torch.zeros(classes, len(mean), requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    best, rises = math.inf, 0
    for strength in strengths:
        minimise(weight, bias, train, mean, scale, strength, loss)
        unscaled = weight.detach() / scale
        fit = measured(val, strength, unscaled, bias.detach() - unscaled @ mean)
        yield fit
        rises = rises + 1 if fit.loss >= best else 0
        best = min(best, fit.loss)
        if rises == 2:
            return  # Weaker ones only overfit more.


def measured(features: FeatureDataset, strength: float, weight: Tensor, bias: Tensor) -> Fit:
    losses, is_right = [], []
    for rows, labels in features.chunks(CHUNK):
        logits = F.linear(rows, weight, bias)
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
        is_right.append(logits.argmax(dim=1) == labels)
    return Fit(strength, weight, bias, torch.cat(losses), torch.cat(is_right))


def minimise(
    weight: Tensor,
    bias: Tensor,
    train: FeatureDataset,
    mean: Tensor,
    scale: Tensor,
    strength: float,
    loss: nn.CrossEntropyLoss,
) -> None:
    """Move `weight` `[classes, width]` and `bias` `[classes]`, of scaled features, to the minimum."""
    class_weights = None if loss.weight is None else loss.weight.cpu()
    counts = torch.bincount(train.labels, minlength=len(bias)).float() * train.locations.shape[1]
    total = float((counts if class_weights is None else counts * class_weights).sum())
    is_small = train.locations[..., 0].size <= CHUNK
    in_memory = list(train.chunks(CHUNK)) if is_small else None  # Else every pass reads the files.
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=TOLERANCE,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        penalty = strength / 2 * weight.square().sum()
        penalty.backward()
        value = penalty.item()
        for features, labels in in_memory or train.chunks(CHUNK):
            scaled = weight / scale
            part = F.cross_entropy(
                features @ scaled.T + (bias - scaled @ mean),
                labels,
                weight=class_weights,
                label_smoothing=loss.label_smoothing,
                reduction="sum",
            )
            (part / total).backward()
            value += part.item() / total
        return value

    with torch.enable_grad():
        optimizer.step(closure)


def mean_and_scale(features: FeatureDataset) -> tuple[Tensor, Tensor]:
    """Return the mean `[width]` of every feature, and what it is divided by; 1 where it does not vary.

    That is the root of its variance plus the median variance. With the variance alone, a feature that is
    almost constant in a few training images would be enlarged until other images of it decide everything.
    """
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for rows, _ in features.chunks(CHUNK):
        count += len(rows)
        total = total + rows.double().sum(dim=0)
        squares = squares + rows.double().square().sum(dim=0)
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    varies = variance.sqrt() >= SMALLEST_STD
    scale = (variance + variance[varies].median()).sqrt() if varies.any() else variance
    return mean.float(), torch.where(varies, scale, 1.0).float()
