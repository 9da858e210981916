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
ENDING = ".rows"
CHUNK = 1 << 24  # bytes that a checksum takes at once
MOST_RESIDENT = 1 << 26  # bytes read after which the pages of the files are given back


class Segment:
    """One file of rows, opened for reading: header, keys `[n]`, rows `[n, width]`.

    Raises ValueError where the file is not as long as its header says.
    """

    def __init__(self, path: Path, width: int, dtype: np.dtype) -> None:
        self.path = path
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self.map) < HEADER.size:
            raise ValueError("no header")
        magic, count, self.checksum = HEADER.unpack_from(self.map)
        rows_at = HEADER.size + count * KEY.itemsize
        if magic != MAGIC or len(self.map) != rows_at + count * width * dtype.itemsize:
            raise ValueError("wrong length")
        self.keys = np.frombuffer(self.map, KEY, count, HEADER.size).copy()
        self.rows = np.frombuffer(self.map, dtype, count * width, rows_at).reshape(count, width)
        self.is_verified = False

    def is_whole(self) -> bool:
        """Return whether the checksum of the contents is the header's; computed once."""
        if not self.is_verified:
            found = 0
            for start in range(HEADER.size, len(self.map), CHUNK):
                found = zlib.crc32(self.map[start : start + CHUNK], found)
            self.is_verified = found == self.checksum
            self.release()
        return self.is_verified

    def release(self) -> None:
        """Let the system take the file's pages out of this process's memory; reading brings them back."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)


class FeatureStore:
    """Rows `[width]` of one kind of number, in the segments of a folder.

    A damaged segment is deleted, and its rows count as missing. Several processes may read and add. With a
    `use`, the folder stays as long as the store does.
    """

    def __init__(self, folder: Path, width: int, dtype: str, use: Use | None = None) -> None:
        self.use = use
        self.folder, self.width, self.dtype = folder, width, np.dtype(dtype)
        folder.mkdir(parents=True, exist_ok=True)
        self.segments: list[Segment] = []
        self.bytes_read = 0
        self.refresh()

    def refresh(self) -> None:
        """Open the segments that were added since."""
        known = {segment.path for segment in self.segments}
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            if path in known:
                continue
            try:
                self.segments.append(Segment(path, self.width, self.dtype))
            except (ValueError, OSError) as error:
                discard(path, str(error))

    def locate(self, keys: np.ndarray) -> np.ndarray:
        """Return the place `[n, 2]` (segment, row) of every key's row; -1 where there is none."""
        while True:
            places = self._search(keys)
            damaged = [
                self.segments[number]
                for number in np.unique(places[:, 0])
                if number >= 0 and not self.segments[number].is_whole()
            ]
            if not damaged:
                return places
            for segment in damaged:
                discard(segment.path, "wrong checksum")
                self.segments.remove(segment)

    def _search(self, keys: np.ndarray) -> np.ndarray:
        places = np.full((len(keys), 2), -1, np.int64)
        lengths = [len(segment.keys) for segment in self.segments]
        if not sum(lengths):
            return places
        stored = np.concatenate([segment.keys for segment in self.segments])
        order = np.argsort(stored)
        found = order[np.searchsorted(stored, keys, sorter=order).clip(max=len(order) - 1)]
        hits = stored[found] == keys
        ends = np.cumsum(lengths)
        segments = np.searchsorted(ends, found[hits], side="right")
        places[hits] = np.stack([segments, found[hits] - (ends - lengths)[segments]], axis=1)
        return places

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return the rows `[n, width]` at places that `locate` gave."""
        rows = np.empty((len(places), self.width), self.dtype)
        for number in np.unique(places[:, 0]):
            here = places[:, 0] == number
            rows[here] = self.segments[number].rows[places[here, 1]]
        self.bytes_read += rows.nbytes
        if self.bytes_read > MOST_RESIDENT:
            self.bytes_read = 0
            for segment in self.segments:
                segment.release()
        return rows

    def add(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Write a segment. Raises OSError that names it where it cannot be written."""
        contents = (
            np.ascontiguousarray(keys, KEY).tobytes(),
            np.ascontiguousarray(rows, self.dtype).tobytes(),
        )
        checksum = zlib.crc32(contents[1], zlib.crc32(contents[0]))
        with replacing(self.folder / f"{uuid.uuid4().hex}{ENDING}", flush=True) as file:
            file.write(HEADER.pack(MAGIC, len(keys), checksum))
            file.writelines(contents)


def discard(path: Path, reason: str) -> None:
    """Delete a damaged segment, and say so."""
    log.warning("%s is damaged (%s): its features are computed anew", path, reason)
    with suppress(OSError):  # Such as a read-only folder: the segment is passed over all the same.
        path.unlink()
