"""Runs a function over very many images in threads, with a progress bar where someone looks on."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 128  # Calls that wait, or whose results wait: all at once would take much memory.


def usable_cpus() -> int:
    """Return how many processors this process may run on; a batch system grants it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], description: str
) -> Iterator[Result]:
    """Yield the function's results in the order of the items; images are decoded without Python's lock."""
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(usable_cpus()) as pool,
        Progress(console=console, transient=True, disable=not (items and sys.stderr.isatty())) as progress,
    ):
        task = progress.add_task(description, total=len(items))
        for start in range(0, len(items), AT_ONCE):
            yield from pool.map(function, items[start : start + AT_ONCE])
            progress.update(task, completed=start + AT_ONCE)
