"""A small head learns with one thread; whoever comes after has all of them again."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from graft.training.phases import threads_that_pay


@pytest.mark.parametrize(
    ("has_features", "device", "batch_size", "expected"),
    [(True, "cpu", 32, 1), (True, "cpu", 10**6, 2), (False, "cpu", 32, 2), (True, "cuda", 32, 2)],
)
def test_one_thread_serves_a_small_head_on_a_cpu(
    has_features: bool, device: str, batch_size: int, expected: int
) -> None:
    module = SimpleNamespace(classifier=SimpleNamespace(head=nn.Linear(100, 2)))
    data = SimpleNamespace(batch_size=batch_size, features={"train": None} if has_features else {})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pays = threads_that_pay(module, data, device)  # type: ignore[arg-type]
        with contextlib.suppress(ZeroDivisionError), pays:
            found = torch.get_num_threads()
            raise ZeroDivisionError
        assert found == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
