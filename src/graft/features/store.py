"""Rows of numbers under keys, in files that are written whole or not at all, and read memory-mapped."""

import logging
import mmap
import struct
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from graft.data.cache_folders import Use
from graft.files import replacing

log = logging.getLogger(__name__)

KEY = np.dtype("S16")  # 128 bits of a hash
HEADER = struct.Struct("<8sQI")  # magic, number of rows, checksum of all that follows
MAGIC = b"graft-f1"
EXTENSION = ".rows"
CHUNK = 1 << 24  # bytes that a checksum takes at once
MOST_RESIDENT = 1 << 26  # bytes read after which the files' pages are released


class Segment:
    """One file of rows: header, keys `[n]`, rows `[n, width]`. Raises ValueError where it is damaged."""

    def __init__(self, path: Path, width: int, dtype: np.dtype) -> None:
        self.path = path
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self.map) < HEADER.size:
            raise ValueError("no header")
        magic, count, expected = HEADER.unpack_from(self.map)
        rows_at = HEADER.size + count * KEY.itemsize
        if magic != MAGIC or len(self.map) != rows_at + count * width * dtype.itemsize:
            raise ValueError("wrong length")
        checksum = 0
        for start in range(HEADER.size, len(self.map), CHUNK):
            checksum = zlib.crc32(self.map[start : start + CHUNK], checksum)
        if checksum != expected:
            raise ValueError("wrong checksum")
        self.keys = np.frombuffer(self.map, KEY, count, HEADER.size).copy()
        self.rows = np.frombuffer(self.map, dtype, count * width, rows_at).reshape(count, width)
        self.release()

    def release(self) -> None:
        """Let the system take the file's pages out of this process's memory; reading brings them back."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)


class FeatureStore:
    """Rows `[width]` of one dtype, in the segments of a folder; several processes may read and add.

    A damaged segment is deleted, so its rows are missing; one that cannot be read now (too many open files)
    is an OSError. The store holds on to `use`, see `Cache.filling`.
    """

    def __init__(self, folder: Path, width: int, dtype: str, use: Use | None = None) -> None:
        self.use = use
        self.folder, self.width, self.dtype = folder, width, np.dtype(dtype)
        folder.mkdir(parents=True, exist_ok=True)
        self.segments: list[Segment] = []
        self.bytes_read = 0
        self.refresh()

    def refresh(self) -> None:
        known = {segment.path for segment in self.segments}
        for path in sorted(self.folder.glob(f"*{EXTENSION}")):
            if path in known:
                continue
            try:
                self.segments.append(Segment(path, self.width, self.dtype))
            except FileNotFoundError:
                continue  # Another process has removed it.
            except ValueError as error:
                log.warning("%s is damaged (%s): its features are computed anew", path, error)
                with suppress(OSError):  # Such as a read-only folder: the segment is ignored all the same.
                    path.unlink()

    def locate(self, keys: np.ndarray) -> np.ndarray:
        """Return the location `[n, 2]` (segment, row) of every key's row; -1 where there is none."""
        locations = np.full((len(keys), 2), -1, np.int64)
        lengths = [len(segment.keys) for segment in self.segments]
        if not sum(lengths):
            return locations
        stored = np.concatenate([segment.keys for segment in self.segments])
        order = np.argsort(stored)
        indices = order[np.searchsorted(stored, keys, sorter=order).clip(max=len(order) - 1)]
        is_stored = stored[indices] == keys
        ends = np.cumsum(lengths)
        segments = np.searchsorted(ends, indices[is_stored], side="right")
        locations[is_stored] = np.stack([segments, indices[is_stored] - (ends - lengths)[segments]], axis=1)
        return locations

    def misses(self, keys: np.ndarray) -> bool:
        """Return whether the row of any key is missing."""
        return bool((self.locate(keys)[:, 0] < 0).any())

    def read(self, locations: np.ndarray) -> np.ndarray:
        """Return the rows `[n, width]` at locations that `locate` returned."""
        rows = np.empty((len(locations), self.width), self.dtype)
        for number in np.unique(locations[:, 0]):
            is_here = locations[:, 0] == number
            rows[is_here] = self.segments[number].rows[locations[is_here, 1]]
        self.bytes_read += rows.nbytes
        if self.bytes_read > MOST_RESIDENT:
            self.bytes_read = 0
            for segment in self.segments:
                segment.release()
        return rows

    def add(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Write a segment. Raises OSError that names it where it cannot be written."""
        key_bytes = np.ascontiguousarray(keys, KEY).tobytes()
        row_bytes = np.ascontiguousarray(rows, self.dtype).tobytes()
        checksum = zlib.crc32(row_bytes, zlib.crc32(key_bytes))
        with replacing(self.folder / f"{uuid.uuid4().hex}{EXTENSION}", flush=True) as file:
            file.write(HEADER.pack(MAGIC, len(keys), checksum))
            file.writelines((key_bytes, row_bytes))
