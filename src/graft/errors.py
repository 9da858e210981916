"""The one kind of error that the user can fix: one line that says what was wrong and what to do."""

import difflib
import importlib
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(Exception):
    """A mistake in what was asked for; the command shows it as `error: ...` and exits with 2."""

    def __init__(self, message: str) -> None:
        # torch makes a worker process's error anew from the text of its whole traceback.
        super().__init__(message.rpartition(f"{__name__}.UserError: ")[2].rstrip())


def reason(error: BaseException) -> str:
    """Return what another library's error says, as a part of one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the choice nearest to `name`, or `""` if none is near."""
    nearest = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""


def import_extra(module: str, extra: str) -> Any:
    """Return the imported module; UserError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name or module} is not installed; install it with: pip install -e ".[{extra}]"'
        ) from error


# Importing runs a package's code, which a checkpoint from elsewhere must not choose.
TRUSTED = ("torch", "torchvision", "torchmetrics", "timm", "graft")


def import_allowed(path: str, allow: Sequence[str] = ()) -> Any:
    """Return the class or function that a checkpoint names; UserError where its package is not allowed."""
    package = path.partition(".")[0]
    if package not in (*TRUSTED, *allow):
        raise UserError(
            f"the checkpoint names {path}, and the package {package} is not imported without permission: "
            f"write allow=[{package}] if you trust it."
        )
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"the checkpoint names {path}, which cannot be imported ({error}).") from error
