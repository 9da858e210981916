"""Predicts for images: decoding in threads beside the network, a few batches in memory at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from graft.data.decoded import decoding_side
from graft.data.images import AnyImage, from_array, read_image, to_rgb
from graft.data.threads import usable_cpus
from graft.data.transforms import evaluation_crop
from graft.errors import UserError
from graft.preprocessing import Preprocessing
from graft.tasks.multiclass import Multiclass
from graft.tasks.task import Task

BATCH_SIZE = 32
MOST_WAITING = 8  # Unreadable images wait for a batch to fill until there are this many batches of rows.

# An image `[C, H, W]`, resized and cropped, or what was computed for it; or None and why it is unreadable.
Row = tuple[Path | None, Tensor | None, str]
# A file, or the image itself: a Pillow image, an array `[H, W]` or `[H, W, 3]` of 8-bit numbers or, for other
# numbers of channels, an array as `graft.data.images.from_array` takes it.
Source = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one image; an unreadable one has only `path` and `error`."""

    path: Path | None  # None for an image that was not given as a file
    label: str | None = None  # the class, the labels or the numbers as text: see `Task.answer`
    probability: float | None = None  # of the most probable class; None unless the task is multiclass
    is_certain: bool | None = None  # whether the probability reaches the threshold; None without one
    values: tuple[float, ...] = ()  # one for each column of the task: see `Task.predict`
    error: str = ""


@dataclass(frozen=True)
class Model:
    """A trained model in evaluation mode, whatever runs it.

    `network` maps images `[B, C, H, W]`, resized and cropped, to logits `[B, columns]` on the CPU. Images are
    8-bit RGB, or of any other number of channels, 0 to 1.
    """

    network: Callable[[Tensor], Tensor]
    task: Task
    preprocessing: Preprocessing

    def predict(
        self, paths: Sequence[Source], threshold: float = 0.0, flip: bool = False
    ) -> list[Prediction]:
        """Return a prediction for every image, in order.

        Images are files, Pillow images or arrays, see `Source`; an unreadable one has the label None and an
        `error`. With classes and a `threshold`, `is_certain` says whether the largest probability reaches it.
        `flip` averages the values of an image and of its mirror image.
        """
        if isinstance(paths, (str, Path)):
            raise UserError(f"predict takes a list of images: write predict([{str(paths)!r}]).")
        if isinstance(paths, Image.Image) or (isinstance(paths, np.ndarray) and paths.ndim < 4):
            raise UserError("predict takes a list of images: write predict([image]).")
        return list(self.stream(paths, threshold, flip))

    def stream(
        self,
        paths: Iterable[Source],
        threshold: float = 0.0,
        flip: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Prediction]:
        """Yield what `predict` returns one by one, for any number of images in constant memory."""
        if threshold:
            self.refuse_unless_multiclass(f"threshold={threshold}")

        def values(images: Tensor) -> Tensor:
            return self.task.predict(self.network(images))

        def averaged(images: Tensor) -> Tensor:
            return (values(images) + values(images.flip(-1))) / 2

        rows = self.rows(averaged if flip else values, paths, batch_size)
        return (self._prediction(*row, threshold) for row in rows)

    def logits(self, paths: Iterable[str | Path], batch_size: int = BATCH_SIZE) -> Tensor:
        """Return the logits `[N, columns]` of readable images; UserError for an unreadable one."""
        rows = list(self.rows(self.network, paths, batch_size))
        bad = [f"{path} ({error})" for path, output, error in rows if output is None]
        if bad:
            named = "; ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
            images = "1 unreadable image" if len(bad) == 1 else f"{len(bad)} unreadable images"
            raise UserError(f"{images}: {named}. Fix or remove them.")
        outputs = [output for _, output, _ in rows if output is not None]
        return torch.stack(outputs) if outputs else torch.empty(0, len(self.task.columns))

    def rows(
        self, compute: Callable[[Tensor], Tensor], paths: Iterable[Source], batch_size: int
    ) -> Iterator[Row]:
        """Yield what `compute` returns for every image, in order; all batches but the last are full."""
        waiting, readable = list[Row](), 0
        for decoded in decoded_images(self.preprocessing, paths, ahead=2 * batch_size):
            waiting.append(decoded)
            readable += decoded[1] is not None
            if readable == batch_size or not readable or len(waiting) == MOST_WAITING * batch_size:
                yield from computed(compute, waiting)
                waiting, readable = [], 0
        yield from computed(compute, waiting)

    def refuse_unless_multiclass(self, setting: str) -> None:
        if not isinstance(self.task, Multiclass):
            raise UserError(f"{setting} needs task=multiclass; the model's task is {self.task.name}.")

    def _prediction(
        self, path: Path | None, output: Tensor | None, error: str, threshold: float
    ) -> Prediction:
        if output is None:
            return Prediction(path, error=error)
        values = tuple(output.tolist())
        probability = max(values) if isinstance(self.task, Multiclass) else None
        is_certain = probability >= threshold if threshold and probability is not None else None
        return Prediction(path, self.task.answer(values), probability, is_certain, values)


def computed(compute: Callable[[Tensor], Tensor], decoded: list[Row]) -> Iterator[Row]:
    images = [image for _, image, _ in decoded if image is not None]
    outputs: Iterator[Tensor] = iter(())
    if images:
        with torch.inference_mode():
            outputs = iter(compute(torch.stack(images)))
    for path, image, error in decoded:
        yield path, None if image is None else next(outputs), error


def decoded_images(preprocessing: Preprocessing, paths: Iterable[Source], ahead: int) -> Iterator[Row]:
    """Yield each image, resized and cropped, in order, at most `ahead` of them before they are asked for.

    Threads: Pillow lets go of Python's lock while it decodes and resizes, torch while it computes.
    """
    crop = evaluation_crop(preprocessing)

    def decode(source: Source) -> Row:
        path = Path(source) if isinstance(source, (str, Path)) else None
        try:
            return path, crop(opened(source, preprocessing)), ""
        except Exception as error:
            # Pillow's decoders raise many types; the row says which image and why.
            return path, None, " ".join(str(error).split()) or type(error).__name__

    remaining = iter(paths)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        begun: deque[Future[Row]] = deque(pool.submit(decode, path) for path in islice(remaining, ahead))
        try:
            while begun:
                done = begun.popleft().result()
                begun.extend(pool.submit(decode, path) for path in islice(remaining, 1))
                yield done
        finally:
            for future in begun:
                future.cancel()


def opened(source: object, preprocessing: Preprocessing) -> AnyImage:
    """Return the source as an image; ValueError for what is not one."""
    channels, value_range = preprocessing.channels, preprocessing.value_range
    if isinstance(source, (str, Path)):
        return read_image(source, channels, decoding_side(preprocessing), value_range)
    if channels != 3 and isinstance(source, (Image.Image, np.ndarray)):
        return from_array(np.asarray(source), channels, value_range)
    if isinstance(source, Image.Image):
        return to_rgb(source, value_range)
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim in (2, 3):
        return to_rgb(Image.fromarray(source), value_range)
    kind = f"{type(source).__name__} {getattr(source, 'dtype', '')}".rstrip()
    raise ValueError(f"{kind} is not an image: give a path, a Pillow image, or uint8 [H, W] or [H, W, 3]")
