"""Ends an interrupted run with the exit code that a scheduler or a shell expects, and one line."""

import shlex
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


@contextmanager
def exit_when_interrupted(last_checkpoint: Path) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into the exit codes 130 and 143, and one line on stderr.

    The codes are 128 + the signal's number. Lightning alone exits with 1 and 0
    (Lightning-AI/pytorch-lightning#21623). Further signals of the kind then change nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread gets signals.
        return
    was_terminated = False

    def terminate(number: int, frame: Any) -> None:
        nonlocal was_terminated
        was_terminated = True
        # A scheduler signals the workers of a DataLoader too; their end is no error then.
        ignore("SIGCHLD", signal.SIG_DFL)
        # Within a loop, Lightning's own handler calls this one and ends the loop after the batch. Elsewhere,
        # such as in the feature pass, the run ends at once.
        if signal.getsignal(signal.SIGTERM) is terminate:
            raise SIGTERMException

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except BaseException as error:
        code = exit_code(error, was_terminated)
        if code is None:
            signal.signal(signal.SIGTERM, before)
            raise
        for name in ("SIGTERM", "SIGINT"):
            ignore(name)
        ignore("SIGCHLD", signal.SIG_DFL)
        if getattr(rank_zero_only, "rank", 0) == 0:
            has_epoch = last_checkpoint.is_file()
            how = f"go on from the last finished epoch with {shlex.quote(f'resume={last_checkpoint}')}"
            sys.stderr.write(f"stopped; {how if has_epoch else 'no epoch was finished'}\n")
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
