"""Learning-rate schedules: each a factor on every group's rate, computed from the step.

A schedule that is a function of the step resumes exactly; only `plateau` depends on what is measured.
Every schedule is rebuilt for every phase of training and counts that phase's steps from zero.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from graft.training.lightning_internals import note_learning_rates


def constant(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda _: 1.0)


def step(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, step_size: int, gamma: float
) -> LambdaLR:
    """Multiply every rate by `gamma` after each `step_size` epochs."""
    return LambdaLR(optimizer, lambda now: gamma ** (now // (step_size * steps_per_epoch)))


def cosine(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, warmup: float) -> LambdaLR:
    """Raise every rate linearly over the first `warmup` share of the steps, then lower it to zero.

    The fall is a half cosine without restarts: Loshchilov & Hutter, SGDR, ICLR 2017.
    """
    warmup_steps = round(warmup * total_steps)

    def factor(now: int) -> float:
        if now < warmup_steps:
            return (now + 1) / (warmup_steps + 1)
        progress = (now - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)


def one_cycle(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, warmup: float) -> LambdaLR:
    """Raise every rate along a half cosine from a 25th, then lower it likewise to a 10,000th of that.

    Smith & Topin 2018, Super-Convergence, with the values of torch's OneCycleLR; momentum is constant.
    """
    peak = warmup * total_steps
    first, last = 1 / 25, 1 / 25e4

    def factor(now: int) -> float:
        if now < peak:
            return half_cosine(first, 1.0, now / peak)
        return half_cosine(1.0, last, min(1.0, (now - peak) / max(1, total_steps - 1 - peak)))

    return LambdaLR(optimizer, factor)


def half_cosine(start: float, end: float, progress: float) -> float:
    """Go from `start` to `end` along a half cosine; `progress` is between 0 and 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def bit_hyperrule(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LambdaLR:
    """Warm up over a fifth of the steps, then divide every rate by 10 at 2, 3 and 4 fifths.

    The rule for fewer than 20,000 images of Kolesnikov et al. 2020 (Big Transfer, ECCV), which has
    500 steps, 100 of them warm-up: `trainer.max_steps=500` with enough epochs.
    """
    fifth = max(1.0, total_steps / 5)

    def factor(now: int) -> float:
        return (now + 1) / fifth if now + 1 < fifth else 0.1 ** max(0, min(3, int(now / fifth) - 1))

    return LambdaLR(optimizer, factor)


def plateau(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, factor: float, patience: int
) -> ReduceLROnPlateau:
    """Multiply every rate by `factor` after `patience` epochs in which `val/loss` has not fallen."""
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)


def take_current_rates(scheduler: LambdaLR) -> None:
    """Set every group's rate to the schedule's at its step.

    A restored optimizer has the rates that it was saved with; the schedule may have been lengthened since.
    """
    factors = [function(scheduler.last_epoch) for function in scheduler.lr_lambdas]
    rates = [float(base * factor) for base, factor in zip(scheduler.base_lrs, factors, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    note_learning_rates(scheduler, rates)
