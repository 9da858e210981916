"""Memory: what is free, when garbage is collected, and keeping freed blocks instead of returning them."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks, as activations are, instead of mapping each anew.

    A fresh mapping is filled page by page by the kernel: with batches of 32 images of 224 pixels
    that took longer than the arithmetic (docs/architecture.md has the figures). Peak memory grows by a part
    of one batch's activations. Systems without glibc stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def available_memory() -> float:
    """Return the bytes of memory that machine and container have left; infinity where they do not say."""
    found = [float("inf")]
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file():
        found.append(1024 * int(read_table(meminfo)["MemAvailable:"]))
    if (group / "memory.max").is_file() and (
        limit := (group / "memory.max").read_text(encoding="utf-8").strip()
    ) != "max":
        kinds = read_table(group / "memory.stat")
        files = int(kinds["active_file"]) + int(kinds["inactive_file"])  # given up when memory is short
        found.append(int(limit) - int((group / "memory.current").read_text(encoding="utf-8")) + files)
    return min(found)


def read_table(file: Path) -> dict[str, str]:
    return {words[0]: words[1] for words in map(str.split, file.read_text(encoding="utf-8").splitlines())}


@contextmanager
def no_collection_while_importing() -> Iterator[None]:
    """Import large packages without looking for garbage, and leave what they made out of later searches.

    They make hundreds of thousands of objects that all stay, and Python would go through them again and
    again. Only the first time: what a run before has left must be found.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
