"""Images decoded once and cached small: in files that other runs read, or in memory that workers share."""

import hashlib
import json
import logging
import math
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
import torch
from PIL import Image
from torchvision.transforms import v2

from graft.data.cache_folders import Cache, Use
from graft.data.images import AnyImage, reread_image
from graft.data.resizing import CropStrips, resizing
from graft.data.sample import Sample
from graft.data.threads import in_threads
from graft.data.transforms import Augmentation
from graft.errors import UserError
from graft.files import replacing
from graft.memory import available_memory
from graft.preprocessing import Preprocessing

log = logging.getLogger(__name__)

DECODING_MARGIN = 2  # Decoders shrink with a box filter, whose blur the resize from twice the pixels removes.
DECODED_MARGIN = 1.15  # A cached image's shorter side, of the crop's: what evaluation resizes to at least.

HEADER = struct.Struct("<III")  # height, width, checksum of the pixels: bytes [H, W, 3] or float32 [C, H, W]
# The code between a file and its decoded image: who changes it must not get what it gave before.
CODE = ("decoded.py", "images.py", "resizing.py", "transforms.py")
ENOUGH_TO_TELL = 32  # Images whose sizes show how much room all will take.


def digest(contents: bytes) -> str:
    return hashlib.blake2b(contents, digest_size=16).hexdigest()


def decoding_side(preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> int:
    """Return how many pixels the shorter side of a decoded image has to have for training or evaluation."""
    needed = float(max(preprocessing.resize))
    if augmentation is not None and augmentation.min_scale < 1:
        needed = max(preprocessing.crop) * augmentation.crop_margin
    return math.ceil(DECODING_MARGIN * needed)


def decoded_size(preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> tuple[int, ...]:
    """Return the size of a cached image: (shorter side,) or (height, width), in pixels.

    Without random crops it is what the transform resizes to, so that resizing once more changes nothing.
    """
    if augmentation is None or augmentation.min_scale == 1:
        return preprocessing.resize
    return (max(*preprocessing.resize, math.ceil(DECODED_MARGIN * max(preprocessing.crop))),)


class Shrinking:
    """Decodes an image's file, and makes it as small as the transform allows, never larger than it was."""

    def __init__(self, preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> None:
        self.size = decoded_size(preprocessing, augmentation)
        is_cropped = len(self.size) == 1 and (augmentation is None or augmentation.min_scale == 1)
        before = [CropStrips()] if is_cropped else []
        self.resize = v2.Compose([*before, resizing(preprocessing, self.size)])
        self.value_range, self.channels = preprocessing.value_range, preprocessing.channels
        self.recipe = {
            "size": list(self.size),
            "fit": preprocessing.fit,
            "channels": self.channels,
            "interpolation": preprocessing.interpolation,
            "antialias": preprocessing.antialias,
            "value_range": preprocessing.value_range,
            "versions": {package: version(package) for package in ("pillow", "torchvision")},
            "code": digest(b"".join(Path(__file__).with_name(name).read_bytes() for name in CODE)),
        }

    def __call__(self, path: str) -> AnyImage:
        """Return the image; UserError where its file cannot be read any more."""
        image = reread_image(path, self.channels, DECODING_MARGIN * max(self.size), self.value_range)
        height, width = v2.functional.get_size(image)
        is_short = len(self.size) == 1
        shrinks = self.size[0] < min(height, width) if is_short else math.prod(self.size) < height * width
        return self.resize(image) if shrinks else image


class ImagesOnDisk:
    """Decoded images in a folder of files named by the hash of what they were made of.

    Several processes may read and write; damaged images are decoded anew. Raises UserError where the folder
    cannot be written, or where the images would take more room than the cache may.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], shrink: Shrinking, cache: Cache) -> None:
        self.root, self.samples, self.shrink = root, samples, shrink
        self.folder = cache.images / digest(json.dumps(shrink.recipe, sort_keys=True).encode())
        self.use: Use
        try:
            with cache.filling(self.folder, shrink.recipe) as self.use:
                self._fill(cache.limit_gb)
        except OSError as error:
            raise self._refusal(error) from error

    def _fill(self, limit_gb: float) -> None:
        with os.scandir(self.folder) as entries:
            present = {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".rgb")}
        numbers = {self._file(number).name: number for number in range(len(self.samples))}
        missing = [number for name, number in numbers.items() if name not in present]
        size = sum(present[name] for name in numbers.keys() & present.keys())
        began, done = time.monotonic(), len(numbers) - len(missing)
        for image in in_threads(self._decode, missing, "decoding images once"):
            done += 1
            size += HEADER.size + byte_count(self.shrink.channels, *v2.functional.get_size(image))
            advice = f"and cache.limit_gb={limit_gb}; raise it, or write data.cache=none"
            refuse_too_many("disk", len(numbers), done, size, limit_gb * 1e9, advice)
        log.info("images   %d decoded in %.1f s in %s", len(missing), time.monotonic() - began, self.folder)

    def __getitem__(self, index: int) -> AnyImage:
        file = self._file(index)
        try:
            return read_decoded(file, self.shrink.channels)
        except (OSError, ValueError) as error:  # Damaged, or the folder was cleared.
            log.warning("%s cannot be read (%s): its image is decoded anew", file, error)
        try:
            return self._decode(index)
        except OSError as error:
            raise self._refusal(error) from error

    def _decode(self, index: int) -> AnyImage:
        image = self.shrink(f"{self.root}/{self.samples[index].path}")
        write_decoded(self._file(index), image)
        return image

    def _file(self, index: int) -> Path:
        return self.folder / f"{self.samples[index].digest}.rgb"

    def _refusal(self, error: OSError) -> UserError:
        return UserError(
            f"data.cache=disk: {error.filename or self.folder} cannot be used ({error.strerror or error}); "
            "make room there, choose another folder with cache.dir=DIR, or write data.cache=none."
        )


class ImagesInMemory:
    """Decoded images in memory that forked and spawned workers share, gone with the process.

    Raises UserError where they would not fit into the memory that is free.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], shrink: Shrinking) -> None:
        if not hasattr(os, "pread"):
            raise UserError("data.cache=ram needs Linux or macOS; write data.cache=disk.")
        self.file, self.channels = memory_file(), shrink.channels
        self.entries = np.zeros((len(samples), 3), np.int64)  # offset, height, width
        began, size, free = time.monotonic(), 0, available_memory()
        advice = f"and {free / 1e9:.2g} GB of memory are free; write data.cache=disk"
        paths = [f"{root}/{sample.path}" for sample in samples]
        for number, image in enumerate(in_threads(shrink, paths, "decoding images once")):
            self.entries[number] = size, *v2.functional.get_size(image)
            size += self.file.write(to_bytes(image))
            refuse_too_many("ram", len(paths), number + 1, size, free, advice)
        self.file.flush()
        log.info("images   %d decoded in %.1f s, %.2g GB", len(paths), time.monotonic() - began, size / 1e9)

    def __getitem__(self, index: int) -> AnyImage:
        offset, height, width = map(int, self.entries[index])
        length = byte_count(self.channels, height, width)
        return from_bytes(os.pread(self.file.fileno(), length, offset), self.channels, height, width)

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.reduction import DupFd  # Windows has none.

        return {**vars(self), "file": DupFd(self.file.fileno())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, file=os.fdopen(state["file"].detach(), "rb"))


DecodedImages = ImagesOnDisk | ImagesInMemory


def refuse_too_many(cache: str, total: int, done: int, size: int, room: float, advice: str) -> None:
    """Raise a UserError where `done` images of `size` bytes promise that all of them exceed the room."""
    needed = size / done * total
    if done >= min(ENOUGH_TO_TELL, total) and needed > room:
        raise UserError(f"data.cache={cache}: {total} images take about {needed / 1e9:.2g} GB, {advice}.")


def memory_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("graft-images"), "w+b")
    return tempfile.TemporaryFile()


def byte_count(channels: int, height: int, width: int) -> int:
    return (3 if channels == 3 else 4 * channels) * height * width


def to_bytes(image: AnyImage) -> bytes:
    return image.tobytes() if isinstance(image, Image.Image) else image.numpy().tobytes()


def from_bytes(pixels: bytes | memoryview, channels: int, height: int, width: int) -> AnyImage:
    if channels == 3:
        return Image.frombytes("RGB", (width, height), pixels)
    return torch.frombuffer(bytearray(pixels), dtype=torch.float32).reshape(channels, height, width)


def write_decoded(file: Path, image: AnyImage) -> None:
    pixels = to_bytes(image)
    file.parent.mkdir(exist_ok=True)  # The folder may have been cleared.
    # Not flushed to the device: what a power cut leaves is found out by its checksum.
    with replacing(file) as part:
        part.write(HEADER.pack(*v2.functional.get_size(image), zlib.crc32(pixels)))
        part.write(pixels)


def read_decoded(file: Path, channels: int) -> AnyImage:
    contents = file.read_bytes()
    if len(contents) < HEADER.size:
        raise ValueError("no header")
    height, width, checksum = HEADER.unpack_from(contents)
    pixels = memoryview(contents)[HEADER.size :]
    if len(pixels) != byte_count(channels, height, width) or zlib.crc32(pixels) != checksum:
        raise ValueError("wrong checksum")
    return from_bytes(pixels, channels, height, width)
