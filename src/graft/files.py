"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replacing(target: Path, flush: bool = False) -> Iterator[IO[bytes]]:
    """Open a file beside `target` that takes its place at the end, in one step; with `flush`, on the device.

    Where writing fails, what was there before stays and nothing else is left. Raises OSError that names
    `target`.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            if flush:
                os.fsync(file.fileno())
            if os.name == "posix":
                part.replace(target)  # While it is open: a lock on it holds until then.
        if os.name != "posix":
            part.replace(target)  # Windows renames closed files only.
    except BaseException as error:
        with suppress(OSError):  # What went wrong first is what matters.
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # A full disk names no file, and a folder that cannot be written names the part.
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        raise
