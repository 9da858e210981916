"""Names the class of images: decoding in threads beside the network, a few batches in memory at a time."""

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

from graft.data.images import open_rgb, to_rgb
from graft.data.threads import usable_cpus
from graft.data.transforms import decoding_side, evaluation_crop
from graft.errors import UserError
from graft.preprocessing import Preprocessing

BATCH_SIZE = 32
UNSURE = "unsure"
MOST_WAITING = 8  # Unreadable images wait for a batch to fill until there are so many batches of rows.


# A image as uint8 `[3, H, W]`, or None and why it cannot be read.
Decoded = tuple[Path | None, Tensor | None, str]

# A file, or the image itself: a Pillow image or an array `[H, W]` or `[H, W, 3]` of 8-bit numbers.
Source = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image; an unreadable one has only `error`."""

    path: Path | None  # None for an image that was given itself
    label: str | None = (
        None  # `unsure` where `probability` is below the threshold; None where it is unreadable
    )
    probability: float = 0.0  # the largest one
    probabilities: tuple[float, ...] = ()  # one a class, in the order of the class names; they sum to 1
    error: str = ""


@dataclass(frozen=True)
class Row:
    """What was computed of one image, or why it cannot be read."""

    path: Path | None
    output: Tensor | None
    error: str = ""


@dataclass(frozen=True)
class Model:
    """A trained model in evaluation mode, whatever runs it.

    `network` maps uint8 RGB images `[B, 3, H, W]`, resized and cropped, to logits `[B, num_classes]` on
    the CPU. Probabilities are `softmax(logits / temperature)`.
    """

    network: Callable[[Tensor], Tensor]
    class_names: list[str]
    preprocessing: Preprocessing
    temperature: float = 1.0

    def predict(
        self, paths: Sequence[Source], threshold: float = 0.0, flip: bool = False
    ) -> list[Prediction]:
        """Return the label and the probabilities of every image, in order.

        Images are files, Pillow images, or arrays `[H, W]` or `[H, W, 3]` of 8-bit numbers. An unreadable one
        has the label None and an `error`. Where the largest probability is below `threshold`, the label is
        `unsure`. `flip` averages the probabilities of an image and of its mirror image.
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

        def with_mirrored(images: Tensor) -> Tensor:
            return (self.probabilities(images) + self.probabilities(images.flip(-1))) / 2

        for row in self.rows(with_mirrored if flip else self.probabilities, paths, batch_size):
            if row.output is None:
                yield Prediction(row.path, error=row.error)
                continue
            shares = tuple(row.output.tolist())
            best = max(range(len(shares)), key=shares.__getitem__)
            label = self.class_names[best] if shares[best] >= threshold else UNSURE
            yield Prediction(row.path, label, shares[best], shares)

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities `[B, num_classes]` of what `network` takes."""
        return (self.network(images) / self.temperature).softmax(dim=1)

    def logits(self, paths: Iterable[str | Path], batch_size: int = BATCH_SIZE) -> Tensor:
        """Return the logits `[N, num_classes]` of readable images; UserError for an unreadable one."""
        found = list(self.rows(self.network, paths, batch_size))
        outputs = [row.output for row in found if row.output is not None]
        bad = [f"{row.path} ({row.error})" for row in found if row.output is None]
        if bad:
            named = "; ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
            raise UserError(f"{len(bad)} unreadable images: {named}. Fix or remove them.")
        return torch.stack(outputs) if outputs else torch.empty(0, len(self.class_names))

    def rows(
        self, compute: Callable[[Tensor], Tensor], paths: Iterable[Source], batch_size: int
    ) -> Iterator[Row]:
        """Yield what `compute` makes of every image, in order; all batches but the last are full."""
        waiting: list[Decoded] = []
        readable = 0
        for decoded in decoded_images(self.preprocessing, paths, ahead=2 * batch_size):
            waiting.append(decoded)
            readable += decoded[1] is not None
            if readable == batch_size or not readable or len(waiting) == MOST_WAITING * batch_size:
                yield from computed(compute, waiting)
                waiting, readable = [], 0
        yield from computed(compute, waiting)


def computed(compute: Callable[[Tensor], Tensor], decoded: list[Decoded]) -> Iterator[Row]:
    """Yield a row for each decoded image, all through the network at once."""
    images = [image for _, image, _ in decoded if image is not None]
    outputs: Iterator[Tensor] = iter(())
    if images:
        with torch.inference_mode():
            outputs = iter(compute(torch.stack(images)))
    for path, image, error in decoded:
        yield Row(path, None if image is None else next(outputs), error)


def as_image(source: object) -> Image.Image:
    """Return a Pillow image, or an array of 8-bit numbers as one; ValueError for anything else."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim in (2, 3):
        return Image.fromarray(source)
    kind = (
        f"an array {source.shape} of {source.dtype}"
        if isinstance(source, np.ndarray)
        else type(source).__name__
    )
    raise ValueError(f"{kind} is no image: give a path, a Pillow image, or uint8 [H, W] or [H, W, 3]")


def decoded_images(preprocessing: Preprocessing, paths: Iterable[Source], ahead: int) -> Iterator[Decoded]:
    """Yield each image, resized and cropped, in order, at most `ahead` of them before they are asked for.

    Threads: Pillow lets go of Python's lock while it decodes and resizes, torch while it computes.
    """
    crop = evaluation_crop(preprocessing)
    shorter_side = decoding_side(preprocessing)

    def decode(source: Source) -> Decoded:
        path = Path(source) if isinstance(source, (str, Path)) else None
        try:
            if path is not None:
                image = open_rgb(path, shorter_side, preprocessing.value_range)
            else:
                image = to_rgb(as_image(source), preprocessing.value_range)
            return path, crop(image), ""
        except Exception as error:
            # Pillow's decoders raise many types; the row says which image and why.
            return path, None, " ".join(str(error).split()) or type(error).__name__

    remaining = iter(paths)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        begun: deque[Future[Decoded]] = deque(pool.submit(decode, path) for path in islice(remaining, ahead))
        try:
            while begun:
                done = begun.popleft().result()
                begun.extend(pool.submit(decode, path) for path in islice(remaining, 1))
                yield done
        finally:
            for future in begun:
                future.cancel()
