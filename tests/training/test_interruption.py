"""A signal ends a run with its exit code and one line, wherever the run is."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from graft.training.interruption import exit_code, exit_when_interrupted
from tests.conftest import MakeConfig
from tests.conftest import trained as train


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """This process's handlers, put back: an interrupted run leaves its signals ignored."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Terminate(L.Callback):
    """Sends SIGTERM, twice, to this process in the second epoch."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.send)

    def send(self, trainer: L.Trainer, *_: Any) -> None:
        """Send the signals."""
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_batch_start"])
def test_sigterm_within_a_loop_exits_with_143_and_one_line(
    make_config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str], hook: str
) -> None:
    own = [
        "+callbacks.own._target_=tests.training.test_interruption.Terminate",
        f"+callbacks.own.hook={hook}",
    ]
    with pytest.raises(SystemExit) as exit_:
        train(make_config(*own, "freeze=false", "data.num_workers=2", "trainer.max_epochs=3"))
    assert exit_.value.code == 143
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert capfd.readouterr().err == f"stopped; go on from the last finished epoch with resume={last}\n"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which a shell switches off for commands in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_changes_nothing(tmp_path: Path, number: int, code: int) -> None:
    with pytest.raises(SystemExit) as exit_, exit_when_interrupted(tmp_path / "last.ckpt"):
        os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    assert exit_.value.code == code


def test_another_error_stays_what_it_is_and_the_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), exit_when_interrupted(tmp_path / "last.ckpt"):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_worker_that_was_terminated_is_an_interruption_and_one_out_of_memory_is_none() -> None:
    words = "DataLoader worker (pid 7) is killed by signal: {}. "
    assert exit_code(RuntimeError(words.format("Terminated")), was_terminated=False) == 143
    assert exit_code(RuntimeError(words.format("Killed")), was_terminated=False) is None
