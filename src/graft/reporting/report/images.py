"""The images that the report shows, in the page itself: small, and enlarged by a click."""

import base64
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from graft.data.images import read_image
from graft.data.sample import Sample
from graft.data.threads import usable_cpus
from graft.preprocessing import Preprocessing
from graft.reporting.board.images import as_rgb
from graft.tasks.task import Task

SIDE = 320  # pixels of an image's longer side, which the page shows smaller until it is clicked
EXAMPLES = 4  # images of a class
MOST_CLASSES = 20  # classes with examples


def data_uri(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    contents = BytesIO()
    small.save(contents, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(contents.getvalue()).decode()}"


def thumbnail(path: Path, preprocessing: Preprocessing, bands: Sequence[int] = (0, 1, 2)) -> str:
    """Return the image as a data URI, empty where it cannot be read any more; see `as_rgb` for `bands`."""
    try:
        image = read_image(path, preprocessing.channels, SIDE, preprocessing.value_range)
        return data_uri(image if isinstance(image, Image.Image) else to_pil_image(as_rgb(image, bands)))
    except Exception:
        # Pillow's decoders raise many types. The page says which image is missing.
        return ""


def thumbnails(paths: Iterable[Path], preprocessing: Preprocessing, bands: Sequence[int]) -> dict[Path, str]:
    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(usable_cpus()) as pool:
        shown = pool.map(thumbnail, wanted, repeat(preprocessing), repeat(bands))
        return dict(zip(wanted, shown, strict=False))


def examples(
    root: Path,
    samples: Sequence[Sample],
    task: Task,
    preprocessing: Preprocessing,
    bands: Sequence[int] = (0, 1, 2),
) -> dict[str, list[str]]:
    """Return some images of each of the first classes or labels, or of low to high numbers."""
    if "numbers" in task.sections:
        ordered = sorted(samples, key=lambda sample: float(sample.target[0]))
        chosen = {f"{task.columns[0]}, from low to high": evenly(ordered, 3 * EXAMPLES)}
    else:
        of_class = {name: [s for s in samples if name in s.target] for name in task.columns[:MOST_CLASSES]}
        chosen = {name: evenly(images, EXAMPLES) for name, images in of_class.items()}
    small = thumbnails([root / s.path for images in chosen.values() for s in images], preprocessing, bands)
    return {name: [small[root / s.path] for s in images] for name, images in chosen.items()}


def evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    indices = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [samples[index] for index in indices]
