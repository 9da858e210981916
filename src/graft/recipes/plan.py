"""What a recipe decides, and why: written into the run's folder with each decision."""

import json
import logging
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graft.errors import UserError
from graft.files import replacing

log = logging.getLogger(__name__)

FILE = "recipe.json"


@dataclass
class Plan:
    """The decisions so far. A run that is resumed follows them, whatever its clock says."""

    folder: Path  # of the run
    steps: list[str] = field(default_factory=list)  # what was tried, and why the recipe moved on
    head: dict[str, Any] = field(default_factory=dict)  # settings of the plain run that repeats the best head
    wrong: list[int] = field(default_factory=list)  # positions of the validation images it has wrong
    settings: dict[str, Any] = field(default_factory=dict)  # of the plain run that repeats the choice
    fit_until: float | None = None  # when the fit has to end, in seconds since 1970; None: after its epochs
    seconds_after_fit: float = 0.0  # of the time budget, for test and report
    averaged: list[int] = field(default_factory=list)  # the epochs whose mean is the result

    @property
    def fine_tunes(self) -> bool:
        """Whether the choice is more than the best head."""
        return self.settings != self.head

    def note(self, step: str) -> None:
        """Show a decision and write the plan."""
        log.info("recipe     %s", step)
        self.steps.append(step)
        self.write()

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        decided = {key: value for key, value in vars(self).items() if key != "folder"}
        with replacing(self.folder / FILE, flush=True) as file:
            file.write(f"{json.dumps(decided, indent=2)}\n".encode())


def read_plan(folder: Path) -> Plan:
    try:
        return Plan(folder, **json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / FILE} cannot be read, so the run cannot be resumed: leave resume out for a new one, "
            "which finds the cached features."
        ) from error


def with_values(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the settings with other values; `values` has dotted keys."""
    changed = deepcopy(settings)
    for key, value in values.items():
        *groups, name = key.split(".")
        holder = changed
        for group in groups:
            holder = holder[group]
        holder[name] = value
    return changed
