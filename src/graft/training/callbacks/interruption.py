"""Ends an interrupted run with the exit code that a scheduler or a shell expects, and one line."""

import sys

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

from graft.training.callbacks.checkpoints import BestAndLast

# 128 + the signal's number. Lightning alone exits with 1 and 0 (Lightning-AI/pytorch-lightning#21623).
EXIT_CODES: dict[type[BaseException], int] = {KeyboardInterrupt: 130, SIGTERMException: 143}


def how_to_go_on(trainer: L.Trainer) -> str:
    """Return the setting that resumes, where an epoch has been finished."""
    callback = trainer.checkpoint_callback
    if isinstance(callback, BestAndLast) and callback.last_path.is_file():
        return f"go on from the last finished epoch with resume={callback.last_path}"
    return "no epoch was finished, there is nothing to go on from"


class ExitWhenInterrupted(L.Callback):
    """Turns Ctrl-C and SIGTERM into exit codes 130 and 143; the last finished epoch is saved."""

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Say how to go on, and exit."""
        del pl_module
        code = EXIT_CODES.get(type(exception))
        if code is None:
            return
        if trainer.is_global_zero:
            sys.stderr.write(f"stopped; {how_to_go_on(trainer)}\n")
        raise SystemExit(code) from None
