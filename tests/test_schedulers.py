"""Learning-rate schedules: their shape, and that they are functions of the step."""

import pytest
import torch
from torch.optim import SGD

from graft import schedulers
from graft.errors import UserError


def optimizer(rate: float = 1.0) -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(float(scheduler.get_last_lr()[0]))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_constant_keeps_the_rate() -> None:
    assert rates(schedulers.constant(optimizer(), 10, 5), 10) == [1.0] * 10


def test_step_drops_the_rate_after_every_step_size_epochs() -> None:
    scheduler = schedulers.step(optimizer(), 12, 2, step_size=2, gamma=0.1)
    assert rates(scheduler, 12) == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01] * 4)


def test_cosine_rises_from_above_zero_and_falls_to_zero() -> None:
    found = rates(schedulers.cosine(optimizer(), 100, 10, warmup=0.1), 101)
    assert found[0] == pytest.approx(1 / 11)
    assert max(found) == found[10] == 1.0
    assert found[:11] == sorted(found[:11])
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[100] == pytest.approx(0.0)


def test_a_schedule_goes_on_exactly_after_a_restart() -> None:
    whole = rates(schedulers.cosine(optimizer(), 20, 5, warmup=0.1), 20)
    first = schedulers.cosine(optimizer(), 20, 5, warmup=0.1)
    begun = rates(first, 7)
    second = schedulers.cosine(first.optimizer, 20, 5, warmup=0.1)
    second.load_state_dict(first.state_dict())
    assert begun + rates(second, 13) == whole


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_a_warmup_that_is_no_share_is_refused(warmup: float) -> None:
    with pytest.raises(UserError, match=r"scheduler\.warmup"):
        schedulers.cosine(optimizer(), 10, 5, warmup=warmup)
