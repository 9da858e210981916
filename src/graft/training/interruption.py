"""Ends an interrupted run with the exit code that a scheduler or a shell expects, and one line."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

KILLED_WORKER = "is killed by signal: Terminated"  # PyTorch's words about a process of a DataLoader


class Termination:
    """Python's handler of SIGTERM while a run lasts.

    Within a loop of Lightning, Lightning's own handler calls this one and ends the loop after the batch.
    Elsewhere, such as in the feature pass, the run ends at once.
    """

    def __init__(self) -> None:
        self.was_asked_for = False

    def __call__(self, number: int, frame: Any) -> None:
        """Note the signal; end the run where Lightning does not."""
        self.was_asked_for = True
        # A scheduler signals the workers of a DataLoader too; their end is no error then.
        ignore("SIGCHLD", signal.SIG_DFL)
        if signal.getsignal(signal.SIGTERM) is self:
            raise SIGTERMException


@contextmanager
def exit_when_interrupted(last_checkpoint: Path) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into the exit codes 130 and 143, and one line on stderr.

    The codes are 128 + the signal's number. Lightning alone exits with 1 and 0
    (Lightning-AI/pytorch-lightning#21623). Further signals of the kind then change nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread gets signals.
        return
    termination = Termination()
    before = signal.signal(signal.SIGTERM, termination)
    try:
        yield
    except BaseException as error:
        code = exit_code(error, termination.was_asked_for)
        if code is None:
            signal.signal(signal.SIGTERM, before)
            raise
        for name in ("SIGTERM", "SIGINT"):
            ignore(name)
        ignore("SIGCHLD", signal.SIG_DFL)
        if getattr(rank_zero_only, "rank", 0) == 0:
            sys.stderr.write(f"stopped; {how_to_go_on(last_checkpoint)}\n")
        raise SystemExit(code) from None
    signal.signal(signal.SIGTERM, before)


def ignore(name: str, handler: signal.Handlers = signal.SIG_IGN) -> None:
    """Have a signal do nothing, where the system has it; SIGCHLD does nothing by default."""
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), handler)


def exit_code(error: BaseException | None, was_terminated: bool) -> int | None:
    """Return the exit code of an interruption, None for any other error.

    Whatever goes wrong after SIGTERM goes wrong because of it. Lightning raises SystemExit(1) from Ctrl-C.
    """
    if was_terminated:
        return 143
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return 130
        if isinstance(error, SIGTERMException) or KILLED_WORKER in str(error):
            return 143
        error = error.__cause__ or error.__context__
    return None


def how_to_go_on(last_checkpoint: Path) -> str:
    """Return the setting that resumes, where an epoch has been finished."""
    if last_checkpoint.is_file():
        return f"go on from the last finished epoch with resume={last_checkpoint}"
    return "no epoch was finished, there is nothing to go on from"
