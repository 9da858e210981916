"""Names the class of new pictures with a trained checkpoint."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from graft.checkpoints import LoadedClassifier
from graft.data.images import open_rgb, picture_endings
from graft.data.transforms import decoding_side, evaluation_transform
from graft.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """What the classifier says about one picture; an unreadable one has only `error`."""

    path: Path
    label: str = ""
    probabilities: tuple[float, ...] = ()  # one a class, in the order of the class names; they sum to 1
    error: str = ""


def find_pictures(source: Path) -> list[Path]:
    """Return a picture file, or all pictures below a folder, sorted; UserError where there is none."""
    if source.is_file():
        return [source]
    endings = picture_endings()
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in endings and path.is_file())
    if not found:
        raise UserError(f"input={source}: there are no pictures.")
    return found


def predict(loaded: LoadedClassifier, paths: Iterable[Path], batch_size: int) -> Iterator[Prediction]:
    """Yield a prediction for every path, in order, holding one batch in memory at a time."""
    transform = evaluation_transform(loaded.preprocessing)
    shorter_side = decoding_side(loaded.preprocessing)
    remaining = iter(paths)
    while batch := list(islice(remaining, batch_size)):
        pictures, errors = {}, {}
        for path in batch:
            try:
                pictures[path] = transform(open_rgb(path, shorter_side))
            except Exception as error:
                # Pillow's decoders raise many types; the row says which picture and why.
                errors[path] = str(error) or type(error).__name__
        rows = {}
        if pictures:
            with torch.inference_mode():
                shares = loaded.classifier(torch.stack(list(pictures.values()))).softmax(dim=1)
            rows = dict(zip(pictures, shares.tolist(), strict=True))
        for path in batch:
            if path in errors:
                yield Prediction(path, error=errors[path])
            else:
                best = max(range(len(rows[path])), key=rows[path].__getitem__)
                yield Prediction(path, loaded.class_names[best], tuple(rows[path]))
