"""Pictures decoded once and kept small: in files that other runs find, or in memory that workers share."""

import hashlib
import json
import logging
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from PIL import Image

from graft.cache_folders import RECIPE, lock_of
from graft.data.folder import Sample
from graft.data.images import reopen_rgb
from graft.data.threads import in_threads
from graft.data.transforms import DECODING_MARGIN, Augmentation, kept_size, resizing
from graft.errors import UserError
from graft.memory import available_memory
from graft.preprocessing import Preprocessing

log = logging.getLogger(__name__)

CHOICES = ("none", "ram", "disk")
HEADER = struct.Struct("<8sIII")  # magic, width, height, checksum of the pixels
MAGIC = b"graft-p1"
# The code between a file and its kept picture: who changes it must not get what it gave before.
SOURCES = ("decoded.py", "images.py", "transforms.py")
ENOUGH_TO_TELL = 32  # Pictures whose sizes show how much room all will take.


class Shrinking:
    """How a picture's file becomes the smaller picture that is kept, which is never larger than it was."""

    def __init__(self, preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> None:
        self.size = kept_size(preprocessing, augmentation)
        self.resize = resizing(preprocessing, self.size)
        self.recipe = {
            "size": list(self.size),
            "interpolation": preprocessing.interpolation,
            "antialias": preprocessing.antialias,
            "versions": {package: version(package) for package in ("pillow", "torchvision")},
            "code": hashlib.blake2b(
                b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES), digest_size=16
            ).hexdigest(),
        }

    def __call__(self, path: str) -> Image.Image:
        """Return the picture as 8-bit RGB; UserError where its file cannot be read any more."""
        picture = reopen_rgb(path, DECODING_MARGIN * max(self.size))
        if len(self.size) == 1:
            shrinks = self.size[0] < min(picture.size)
        else:
            shrinks = self.size[0] * self.size[1] < picture.width * picture.height
        if not shrinks:
            return picture
        smaller: Image.Image = self.resize(picture)
        return smaller


class PicturesOnDisk:
    """Kept pictures in a folder of files named by the hash of what they were made of.

    Several processes may read and write. What is damaged is made anew. Raises UserError where the folder
    cannot be written.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], shrink: Shrinking, cache: Path) -> None:
        self.root, self.samples, self.shrink = root, samples, shrink
        recipe = json.dumps(shrink.recipe, sort_keys=True)
        self.folder = cache / hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()
        try:
            cache.mkdir(parents=True, exist_ok=True)
            # Whoever comes second waits, and then finds all that the first has decoded.
            with FileLock(lock_of(self.folder)):
                self.folder.mkdir(exist_ok=True)
                (self.folder / RECIPE).write_text(recipe + "\n", encoding="utf-8")
                present = {entry.name for entry in os.scandir(self.folder)}
                found = {self._file(number).name: number for number in range(len(samples))}
                missing = [number for name, number in found.items() if name not in present]
                began = time.monotonic()
                for _ in in_threads(self._make, missing, "decoding pictures once"):
                    pass
            seconds = time.monotonic() - began
            log.info("pictures   %d decoded in %.1f s, kept in %s", len(missing), seconds, self.folder)
        except OSError as error:
            raise self._refusal(error) from error

    def __getitem__(self, index: int) -> Image.Image:
        file = self._file(index)
        try:
            return read_picture(file)
        except FileNotFoundError:
            pass  # The folder was cleared.
        except (OSError, ValueError) as error:
            log.warning("%s is damaged (%s): its picture is decoded anew", file, error)
        try:
            return self._make(index)
        except OSError as error:
            raise self._refusal(error) from error

    def _make(self, index: int) -> Image.Image:
        picture = self.shrink(f"{self.root}/{self.samples[index].path}")
        write_picture(self._file(index), picture)
        return picture

    def _file(self, index: int) -> Path:
        return self.folder / f"{self.samples[index].digest}.rgb"

    def _refusal(self, error: OSError) -> UserError:
        return UserError(
            f"data.cache=disk: {self.folder} cannot be used ({error.strerror or error}); make room there, "
            "choose another data.cache_dir, or write data.cache=none."
        )


class PicturesInMemory:
    """Kept pictures in memory that forked and spawned workers share, gone with the process.

    Raises UserError where they would not fit into the memory that is free.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], shrink: Shrinking) -> None:
        if not hasattr(os, "pread"):
            raise UserError("data.cache=ram needs Linux or macOS; write data.cache=disk.")
        self.file = memory_file()
        self.places = np.zeros((len(samples), 3), np.int64)  # offset, width, height
        began, size, free, needed = time.monotonic(), 0, available_memory(), 0.0
        paths = [f"{root}/{sample.path}" for sample in samples]
        for number, picture in enumerate(in_threads(shrink, paths, "decoding pictures once")):
            self.places[number] = size, *picture.size
            size += self.file.write(picture.tobytes())
            needed = size / (number + 1) * len(paths)
            if number >= ENOUGH_TO_TELL and needed > free:
                break
        if needed > free:
            raise UserError(
                f"data.cache=ram: {len(paths)} pictures take about {needed / 1e9:.2g} GB, and "
                f"{free / 1e9:.2g} GB of memory are free; write data.cache=disk."
            )
        self.file.flush()
        seconds = time.monotonic() - began
        log.info("pictures   %d decoded in %.1f s, %.2g GB of memory", len(paths), seconds, size / 1e9)

    def __getitem__(self, index: int) -> Image.Image:
        offset, width, height = map(int, self.places[index])
        pixels = os.pread(self.file.fileno(), 3 * width * height, offset)
        return Image.frombytes("RGB", (width, height), pixels)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a spawned worker gets: the same memory under another number."""
        from multiprocessing.reduction import DupFd  # Windows has none.

        return {"file": DupFd(self.file.fileno()), "places": self.places}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.file, self.places = os.fdopen(state["file"].detach(), "rb"), state["places"]


KeptPictures = PicturesOnDisk | PicturesInMemory


def memory_file() -> BinaryIO:
    """Return a file without a name that lies in memory; on macOS, in memory while there is enough."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("graft-pictures"), "w+b")
    return tempfile.TemporaryFile()


def write_picture(file: Path, picture: Image.Image) -> None:
    """Write an RGB picture: beside its place, renamed."""
    pixels = picture.tobytes()
    file.parent.mkdir(exist_ok=True)  # The folder may have been cleared.
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    with os.fdopen(handle, "wb") as part:
        part.write(HEADER.pack(MAGIC, *picture.size, zlib.crc32(pixels)))
        part.write(pixels)
    # Not flushed to the device: what a power cut leaves is found out by its checksum.
    Path(name).replace(file)


def read_picture(file: Path) -> Image.Image:
    """Return the picture; ValueError where the file is not as it was written."""
    contents = file.read_bytes()
    if len(contents) < HEADER.size:
        raise ValueError("no header")
    magic, width, height, checksum = HEADER.unpack_from(contents)
    pixels = memoryview(contents)[HEADER.size :]
    if magic != MAGIC or len(pixels) != 3 * width * height:
        raise ValueError("wrong length")
    if zlib.crc32(pixels) != checksum:
        raise ValueError("wrong checksum")
    return Image.frombytes("RGB", (width, height), pixels)
