"""Keeps the C library from returning freed memory to the system after every batch."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks, as activations are, instead of mapping each anew.

    A fresh mapping is filled page by page by the kernel: with batches of 32 pictures of 224 pixels
    that took longer than the arithmetic (docs/architecture.md has the figures). Peak memory grows by a part
    of one batch's activations. Systems without glibc stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
