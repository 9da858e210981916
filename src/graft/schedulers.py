"""Learning-rate schedules: each a factor on every group's rate, computed from the step alone.

A schedule that is a function of the step resumes exactly. It is built anew for every phase of
training and counts that phase's steps from zero.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from graft.errors import UserError


def constant(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LambdaLR:
    """Keep every rate as it is."""
    del total_steps, steps_per_epoch
    return LambdaLR(optimizer, lambda _: 1.0)


def step(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, step_size: int, gamma: float
) -> LambdaLR:
    """Multiply every rate by `gamma` after each `step_size` epochs."""
    del total_steps
    if step_size < 1:
        raise UserError(f"scheduler.step_size={step_size}: it counts epochs and is at least 1.")
    return LambdaLR(optimizer, lambda now: gamma ** (now // (step_size * steps_per_epoch)))


def cosine(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, warmup: float) -> LambdaLR:
    """Raise every rate linearly over the first `warmup` share of the steps, then lower it to zero.

    The fall is a half cosine without restarts: Loshchilov & Hutter, SGDR, ICLR 2017.
    """
    del steps_per_epoch
    if not 0 <= warmup < 1:
        raise UserError(f"scheduler.warmup={warmup}: it is a share of all steps, 0 <= warmup < 1.")
    warmup_steps = round(warmup * total_steps)

    def factor(now: int) -> float:
        if now < warmup_steps:
            return (now + 1) / (warmup_steps + 1)
        progress = (now - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)
