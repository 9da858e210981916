"""Images decoded once and kept small: in files that other runs find, or in memory that workers share."""

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
from PIL import Image

from graft.data.cache_folders import Cache, Use
from graft.data.folder import Sample
from graft.data.images import reopen_rgb
from graft.data.threads import in_threads
from graft.data.transforms import DECODING_MARGIN, Augmentation, kept_size, resizing
from graft.errors import UserError
from graft.files import replacing
from graft.memory import available_memory
from graft.preprocessing import Preprocessing

log = logging.getLogger(__name__)

CHOICES = ("none", "ram", "disk")
HEADER = struct.Struct("<8sIII")  # magic, width, height, checksum of the pixels
MAGIC = b"graft-p1"
# The code between a file and its kept image: who changes it must not get what it gave before.
SOURCES = ("decoded.py", "images.py", "transforms.py")
ENOUGH_TO_TELL = 32  # Images whose sizes show how much room all will take.


class Shrinking:
    """How a image's file becomes the smaller image that is kept, which is never larger than it was."""

    def __init__(self, preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> None:
        self.size = kept_size(preprocessing, augmentation)
        self.resize = resizing(preprocessing, self.size)
        self.value_range = preprocessing.value_range
        self.recipe = {
            "size": list(self.size),
            "interpolation": preprocessing.interpolation,
            "antialias": preprocessing.antialias,
            "value_range": preprocessing.value_range,
            "versions": {package: version(package) for package in ("pillow", "torchvision")},
            "code": hashlib.blake2b(
                b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES), digest_size=16
            ).hexdigest(),
        }

    def __call__(self, path: str) -> Image.Image:
        """Return the image as 8-bit RGB; UserError where its file cannot be read any more."""
        image = reopen_rgb(path, DECODING_MARGIN * max(self.size), self.value_range)
        if len(self.size) == 1:
            shrinks = self.size[0] < min(image.size)
        else:
            shrinks = self.size[0] * self.size[1] < image.width * image.height
        if not shrinks:
            return image
        smaller: Image.Image = self.resize(image)
        return smaller


class ImagesOnDisk:
    """Kept images in a folder of files named by the hash of what they were made of.

    Several processes may read and write, and none removes the folder while this object is there. What is
    damaged is made anew. Raises UserError where the folder cannot be written, or where the images would take
    more room than the cache may.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], shrink: Shrinking, cache: Cache) -> None:
        self.root, self.samples, self.shrink = root, samples, shrink
        recipe = json.dumps(shrink.recipe, sort_keys=True)
        self.folder = cache.images / hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()
        self.use: Use
        try:
            with cache.filling(self.folder, shrink.recipe) as self.use:
                self._fill(cache.limit_gb)
        except OSError as error:
            raise self._refusal(error) from error

    def _fill(self, limit_gb: float) -> None:
        """Decode what is not there, as long as all images of these samples promise to fit into the limit."""
        with os.scandir(self.folder) as entries:
            present = {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".rgb")}
        found = {self._file(number).name: number for number in range(len(self.samples))}
        missing = [number for name, number in found.items() if name not in present]
        size = sum(present[name] for name in found.keys() & present.keys())
        began, told = time.monotonic(), len(found) - len(missing)
        for image in in_threads(self._make, missing, "decoding images once"):
            told += 1
            size += HEADER.size + 3 * image.width * image.height
            needed = size / told * len(found)
            if (told >= ENOUGH_TO_TELL or told == len(found)) and needed > limit_gb * 1e9:
                raise UserError(
                    f"data.cache=disk: {len(found)} images take about {needed / 1e9:.2g} GB, and "
                    f"cache.limit_gb={limit_gb}; raise it, or write data.cache=none."
                )
        seconds = time.monotonic() - began
        log.info("images   %d decoded in %.1f s, kept in %s", len(missing), seconds, self.folder)

    def __getitem__(self, index: int) -> Image.Image:
        file = self._file(index)
        try:
            return read_image(file)
        except FileNotFoundError:
            pass  # The folder was cleared.
        except (OSError, ValueError) as error:
            log.warning("%s is damaged (%s): its image is decoded anew", file, error)
        try:
            return self._make(index)
        except OSError as error:
            raise self._refusal(error) from error

    def _make(self, index: int) -> Image.Image:
        image = self.shrink(f"{self.root}/{self.samples[index].path}")
        write_image(self._file(index), image)
        return image

    def _file(self, index: int) -> Path:
        return self.folder / f"{self.samples[index].digest}.rgb"

    def _refusal(self, error: OSError) -> UserError:
        return UserError(
            f"data.cache=disk: {error.filename or self.folder} cannot be used ({error.strerror or error}); "
            "make room there, choose another folder with cache.dir=DIR, or write data.cache=none."
        )


class ImagesInMemory:
    """Kept images in memory that forked and spawned workers share, gone with the process.

    Raises UserError where they would not fit into the memory that is free.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], shrink: Shrinking) -> None:
        if not hasattr(os, "pread"):
            raise UserError("data.cache=ram needs Linux or macOS; write data.cache=disk.")
        self.file = memory_file()
        self.places = np.zeros((len(samples), 3), np.int64)  # offset, width, height
        began, size, free, needed = time.monotonic(), 0, available_memory(), 0.0
        paths = [f"{root}/{sample.path}" for sample in samples]
        for number, image in enumerate(in_threads(shrink, paths, "decoding images once")):
            self.places[number] = size, *image.size
            size += self.file.write(image.tobytes())
            needed = size / (number + 1) * len(paths)
            if number >= ENOUGH_TO_TELL and needed > free:
                break
        if needed > free:
            raise UserError(
                f"data.cache=ram: {len(paths)} images take about {needed / 1e9:.2g} GB, and "
                f"{free / 1e9:.2g} GB of memory are free; write data.cache=disk."
            )
        self.file.flush()
        seconds = time.monotonic() - began
        log.info("images   %d decoded in %.1f s, %.2g GB of memory", len(paths), seconds, size / 1e9)

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


KeptImages = ImagesOnDisk | ImagesInMemory


def memory_file() -> BinaryIO:
    """Return a file without a name that lies in memory; on macOS, in memory while there is enough."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("graft-images"), "w+b")
    return tempfile.TemporaryFile()


def write_image(file: Path, image: Image.Image) -> None:
    """Write an RGB image. Raises OSError that names the file where that fails."""
    pixels = image.tobytes()
    file.parent.mkdir(exist_ok=True)  # The folder may have been cleared.
    # Not flushed to the device: what a power cut leaves is found out by its checksum.
    with replacing(file) as part:
        part.write(HEADER.pack(MAGIC, *image.size, zlib.crc32(pixels)))
        part.write(pixels)


def read_image(file: Path) -> Image.Image:
    """Return the image; ValueError where the file is not as it was written."""
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
