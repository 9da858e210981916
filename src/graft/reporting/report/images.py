"""The images that the report shows: small, in the page itself."""

import base64
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from graft.data.folder import Sample
from graft.data.images import open_rgb
from graft.data.threads import usable_cpus

SIDE = 96  # pixels of a thumbnail's longer side
MOST_SHOWN = 8  # mistakes, and as many uncertain images
EXAMPLES = 4  # images of a class
MOST_CLASSES = 20  # classes with examples


@dataclass(frozen=True)
class Shown:
    """A image with what it is and what it was taken for; the images are data URIs, or empty."""

    path: str
    label: str
    predicted: str
    probability: float  # of the predicted class
    image: str
    overlay: str


def data_uri(image: Image.Image) -> str:
    """Return the RGB image as a small JPEG in a data URI."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    contents = BytesIO()
    small.save(contents, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(contents.getvalue()).decode()}"


def thumbnail(path: Path) -> str:
    """Return the image as a data URI, empty where it cannot be read any more."""
    try:
        return data_uri(open_rgb(path, shorter_side=SIDE, to_look_at=True))
    except Exception:
        # Pillow's decoders raise many types. The page says which image is missing.
        return ""


def thumbnails(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the images as data URIs, decoded in threads."""
    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return dict(zip(wanted, pool.map(thumbnail, wanted), strict=True))


def examples(root: Path, samples: Sequence[Sample], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Return some images of each of the first classes, taken evenly from all of the class."""
    chosen: dict[str, list[Path]] = {}
    for name in islice(class_names, MOST_CLASSES):
        paths = [root / sample.path for sample in samples if sample.class_name == name]
        places = np.linspace(0, len(paths) - 1, min(EXAMPLES, len(paths))).round().astype(int)
        chosen[name] = [paths[place] for place in places]
    found = thumbnails(path for paths in chosen.values() for path in paths)
    return {name: [found[path] for path in paths] for name, paths in chosen.items()}


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> list[int]:
    """Return the places of the wrongly classified images with the highest probabilities."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order[:MOST_SHOWN]].tolist()


def least_certain(probabilities: np.ndarray) -> list[int]:
    """Return the places of the images whose highest probability is lowest."""
    return np.argsort(probabilities.max(axis=1), kind="stable")[:MOST_SHOWN].tolist()
