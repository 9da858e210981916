"""Grad-CAM: the regions of an image that a prediction is based on (Selvaraju et al. 2017)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

from graft.data.bands import shown_bands, stretched
from graft.data.transforms import normalisation
from graft.errors import UserError, import_extra
from graft.inference.model import decoded_images
from graft.inference.runtimes import OPENERS, best_device
from graft.models.checkpoints import LoadedClassifier, load_classifier
from graft.tasks.regression import Regression
from graft.tasks.task import task_from

BATCH_SIZE = 16
OPACITY = 0.5
COLOURS = "viridis"  # from dark purple (0) to yellow (1); also readable with colour blindness


@dataclass(frozen=True)
class Explanation:
    """An image's label, and the regions it is based on; an unreadable image has only `error`."""

    path: Path
    label: str = ""
    probability: float | None = None  # of the label; None for numbers
    image: Image.Image | None = None  # resized and cropped, as the network sees it
    overlay: Image.Image | None = None  # the heat map over the same image in grey
    error: str = ""


def explain(
    loaded: LoadedClassifier,
    paths: Iterator[Path],
    bands: Sequence[int] | None = None,
    allow: Sequence[str] = (),
    opacity: float = OPACITY,
) -> Iterator[Explanation]:
    """Yield an explanation of every image, in order, a batch in memory at a time.

    It explains the most probable class or label, or why the first number is above or below the mean of the
    training images. `bands`, one or three, are shown as grey or as red, green and blue; None: the first ones.
    `opacity` is that of the heat map, 0 to 1. Raises UserError for bands that the images lack, and for a
    network without feature maps, such as a vision transformer.
    """
    gradcam = import_extra("pytorch_grad_cam", "explain")
    task, device = task_from(loaded.task, allow), best_device()
    is_regression = isinstance(task, Regression)
    classifier = loaded.classifier.to(device)
    normalise = normalisation(loaded.preprocessing).to(device)
    bands = shown_bands(loaded.preprocessing.channels, bands)
    inputs = torch.zeros(1, loaded.preprocessing.channels, *loaded.preprocessing.crop, device=device)
    layer, needs_permuting = last_feature_maps(classifier, inputs)

    def channels_first(maps: Tensor) -> Tensor:
        return maps.permute(0, 3, 1, 2) if needs_permuting else maps

    decoded = decoded_images(loaded.preprocessing, paths, ahead=2 * BATCH_SIZE)
    with gradcam.GradCAM(classifier, [layer], reshape_transform=channels_first) as cam:
        while batch := list(islice(decoded, BATCH_SIZE)):
            readable = [image for _, image, _ in batch if image is not None]
            explained: Iterator[tuple[str, float | None, Image.Image, Image.Image]] = iter(())
            if readable:
                # Without targets it is each image's most probable class.
                targets = [lambda output: output[0].abs()] * len(readable) if is_regression else None
                heat = cam(normalise(torch.stack(readable).to(device)), targets=targets)
                logits = cam.outputs.detach().float().cpu()
                values = task.predict(logits).tolist()
                labels = [task.columns[column] for column in logits.argmax(dim=1).tolist()]
                probabilities: list[float | None] = list(map(max, values))
                if is_regression:
                    labels, probabilities = list(map(task.answer, values)), [None] * len(values)
                images = [as_image(image, bands) for image in readable]
                overlays = map(overlay, images, heat, repeat(opacity))
                explained = zip(labels, probabilities, images, overlays, strict=True)
            for path, image, error in batch:
                assert path is not None  # Images without a file are for `Model.predict`.
                yield Explanation(path, error=error) if image is None else Explanation(path, *next(explained))


class Overlays:
    """Overlays of images by a trained model, each drawn once; `why_none` says why there can be none."""

    def __init__(
        self, checkpoint: Path, allow: Sequence[str] = (), bands: Sequence[int] | None = None
    ) -> None:
        self.checkpoint, self.allow, self.bands = checkpoint, allow, bands
        self.why_none = ""
        self.drawn: dict[Path, Image.Image | None] = {}

    def of(self, paths: Sequence[Path]) -> dict[Path, Image.Image]:
        """Return the overlays of the images that can be read; none at all where `why_none` says why."""
        new = [path for path in dict.fromkeys(paths) if path not in self.drawn]
        if new and not self.why_none:
            try:
                refuse_exported(self.checkpoint)
                loaded = load_classifier(self.checkpoint, self.allow)
                explained = explain(loaded, iter(new), self.bands, self.allow)
                self.drawn |= {one.path: one.overlay for one in explained}
            except UserError as error:
                self.why_none = f"No Grad-CAM overlays: {str(error).removeprefix('explain: ')}"
        overlays = {path: self.drawn.get(path) for path in paths}
        return {path: image for path, image in overlays.items() if image is not None}


def as_image(image: Tensor, bands: Sequence[int]) -> Image.Image:
    """Return one or three bands of an image `[C, H, W]`, uint8 or 0 to 1, as RGB.

    Of an image with more than three, they are shown from their least to their largest value.
    """
    shown = image[list(bands)]
    return to_pil_image(stretched(shown) if len(image) > 3 else shown).convert("RGB")


def overlay(image: Image.Image, heat: np.ndarray, opacity: float = OPACITY) -> Image.Image:
    """Return the heat map `[H, W]`, 0 to 1, over the image in grey: every colour is then the map's."""
    colours = Image.fromarray(matplotlib.colormaps[COLOURS](heat, bytes=True)[..., :3])
    return Image.blend(image.convert("L").convert("RGB"), colours, opacity)


def side_by_side(one: Explanation) -> Figure:
    """Draw the image and its heat map beside each other, with label, probability and scale."""
    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    for axes, image, title in zip(
        figure.subplots(1, 2), (one.image, one.overlay), ("image", "Grad-CAM"), strict=True
    ):
        axes.imshow(image)
        axes.set_axis_off()
        axes.set_title(title, fontsize=10)
    scale = figure.colorbar(ScalarMappable(cmap=COLOURS), ax=figure.axes, shrink=0.8, ticks=[0, 1])
    scale.ax.set_yticklabels(["least", "most"])
    probability = "" if one.probability is None else f"  {one.probability:.1%}"
    figure.suptitle(f"predicted {one.label}{probability}", parse_math=False)
    return figure


def last_feature_maps(classifier: nn.Module, images: Tensor) -> tuple[nn.Module, bool]:
    """Return the last module with feature maps of square images, and whether they are `[B, h, w, C]`.

    Raises UserError where the last output with a spatial dimension are a transformer's tokens.
    """
    last: list[tuple[nn.Module, int, bool]] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4):
            size = output.shape[1:]
            is_channels_last = len(size) == 3 and size[0] == size[1] != size[2]  # As in some transformers.
            if min(size[:-1] if len(size) == 2 or is_channels_last else size[1:]) > 1:
                last[:] = [(module, output.ndim, is_channels_last)]

    hooks = [module.register_forward_hook(note) for module in classifier.modules()]
    try:
        with torch.no_grad():
            classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last or last[0][1] == 3:
        raise UserError("explain: the network ends without feature maps; Grad-CAM needs a convolutional one.")
    return last[0][0], last[0][2]


def refuse_exported(checkpoint: Path) -> None:
    if checkpoint.suffix.lower() in OPENERS:
        raise UserError(f"checkpoint={checkpoint}: Grad-CAM needs a checkpoint, not an exported file.")
