"""Learning-rate schedules: their shape, and that they are functions of the step."""

import pytest
import torch
from torch.optim import SGD

from graft.training import schedulers


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


def test_one_cycle_begins_and_ends_where_torchs_own_does() -> None:
    found = rates(schedulers.one_cycle(optimizer(), 50, 10, warmup=0.3), 50)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer(), max_lr=1.0, total_steps=50, pct_start=0.3)
    expected = rates(theirs, 49)
    assert max(found) == pytest.approx(1.0, abs=0.01)
    assert found[0] == pytest.approx(expected[0])
    assert found[-1] == pytest.approx(1 / 25e4)
    assert found[:15] == sorted(found[:15])
    assert found[15:] == sorted(found[15:], reverse=True)


def test_bit_hyperrule_has_the_papers_steps() -> None:
    found = rates(schedulers.bit_hyperrule(optimizer(), 500, 10), 500)
    assert found[0] == pytest.approx(0.01)
    assert found[99] == found[199] == 1.0
    assert [found[step] for step in (200, 299, 300, 399, 400, 499)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )
