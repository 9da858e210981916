"""Sources of samples: each turns something on disk into a list of `Sample`. One file each."""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from graft.data.sample import Sample
    from graft.tasks.task import Task


class Source(Protocol):
    """Something on disk that holds labelled images."""

    @property
    def root(self) -> Path:
        """The folder that the samples' paths are relative to."""

    def read(self, task: "Task", needs_train: bool = True) -> "list[Sample]":
        """Return the samples, sorted by path; their splits where the source says them.

        `needs_train` is false where nothing is trained. Raises UserError for what does not fit the task.
        """

    def target_names(self, task: "Task") -> Sequence[str]:
        """Return the names of the target columns, `class` for class folders; none where there are none."""


def open_source(settings: Mapping[str, Any]) -> Source:
    """Build the source that `_target_` of the settings `data` names; it takes its own arguments of them."""
    from hydra.utils import get_class  # Settings are declared without importing what is slow.

    kind = get_class(settings["_target_"])
    taken = signature(kind).parameters
    source: Source = kind(**{key: value for key, value in settings.items() if key in taken})
    return source
