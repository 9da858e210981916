"""Imports what belongs to an extra of the package, and says how to install it where it is missing."""

import importlib
from typing import Any

from graft.errors import UserError


def import_extra(module: str, extra: str) -> Any:
    """Return the imported module; UserError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name or module} is not installed; install it with: pip install "graft[{extra}]"'
        ) from error
