"""Grad-CAM overlays: which part of an image speaks for its label or number (Selvaraju et al. 2017)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from graft.data.transforms import normalisation
from graft.errors import UserError, import_extra
from graft.inference.model import decoded_images
from graft.inference.runtimes import OPENERS, best_device
from graft.models.checkpoints import LoadedClassifier, load_classifier
from graft.tasks.regression import Regression
from graft.tasks.task import task_from

BATCH_SIZE = 16


@dataclass(frozen=True)
class Explanation:
    """An image's label, and where the network saw it; an unreadable image has only `error`."""

    path: Path
    label: str = ""
    overlay: Image.Image | None = None  # the heat map on the cropped image, as the network sees it
    error: str = ""


def explain(
    loaded: LoadedClassifier,
    paths: Iterator[Path],
    bands: Sequence[int] | None = None,
    allow: Sequence[str] = (),
) -> Iterator[Explanation]:
    """Yield an explanation of every image, in order, a batch in memory at a time.

    It explains the most probable class or label, or why the first number is above or below the mean of the
    training images. `bands`, one or three, are shown as grey or as red, green and blue; None: the first ones.
    Raises UserError for bands that the images lack, and for a network without feature maps, such as a vision
    transformer.
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
            explained: Iterator[tuple[str, Image.Image]] = iter(())
            if readable:
                # Without targets it is each image's most probable class.
                targets = [lambda output: output[0].abs()] * len(readable) if is_regression else None
                heat = cam(normalise(torch.stack(readable).to(device)), targets=targets)
                logits = cam.outputs.detach().float().cpu()
                shown = (image[bands] for image in readable)
                labels = [task.columns[column] for column in logits.argmax(dim=1).tolist()]
                if is_regression:
                    labels = list(map(task.answer, task.predict(logits).tolist()))
                explained = zip(labels, map(overlay, shown, heat), strict=True)
            for path, image, error in batch:
                assert path is not None  # Images without a file are for `Model.predict`.
                yield Explanation(path, error=error) if image is None else Explanation(path, *next(explained))


def shown_bands(channels: int, bands: Sequence[int] | None) -> list[int]:
    if bands is None:
        return [0, 1, 2] if channels >= 3 else [0]
    if len(bands) not in (1, 3) or not all(0 <= band < channels for band in bands):
        listed = ",".join(map(str, bands))
        raise UserError(f"bands=[{listed}]: write one or three of the model's bands, 0 to {channels - 1}.")
    return list(bands)


class Overlays:
    """Overlays of images by a trained model, each drawn once; `why_none` says why there can be none."""

    def __init__(self, checkpoint: Path, allow: Sequence[str] = ()) -> None:
        self.checkpoint, self.allow = checkpoint, allow
        self.why_none = ""
        self.drawn: dict[Path, Image.Image | None] = {}

    def of(self, paths: Sequence[Path]) -> dict[Path, Image.Image]:
        """Return the overlays of the images that can be read; none at all where `why_none` says why."""
        new = [path for path in dict.fromkeys(paths) if path not in self.drawn]
        if new and not self.why_none:
            try:
                refuse_exported(self.checkpoint)
                loaded = load_classifier(self.checkpoint, self.allow)
                explained = explain(loaded, iter(new), allow=self.allow)
                self.drawn |= {one.path: one.overlay for one in explained}
            except UserError as error:
                self.why_none = f"No Grad-CAM overlays: {str(error).removeprefix('explain: ')}"
        overlays = {path: self.drawn.get(path) for path in paths}
        return {path: image for path, image in overlays.items() if image is not None}


def overlay(image: Tensor, heat: np.ndarray) -> Image.Image:
    """Return an image `[1 or 3, H, W]`, uint8 or 0 to 1, under the heat map `[H, W]`, 0 to 1."""
    shown_on = import_extra("pytorch_grad_cam.utils.image", "explain")
    colours = import_extra("cv2", "explain")
    shown = image.expand(3, -1, -1).permute(1, 2, 0).numpy().astype(np.float32)
    if image.dtype == torch.uint8:
        shown /= 255
    # Brighter is more in inferno, whoever looks at it; grad-cam's own rainbow needs red beside green.
    return Image.fromarray(
        shown_on.show_cam_on_image(shown, heat, use_rgb=True, colormap=colours.COLORMAP_INFERNO)
    )


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
