"""Grad-CAM overlays: which part of a image speaks for its label (Selvaraju et al. 2017)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from graft.inference.search import base_folder, find_images
from graft.memory import keep_freed_memory
from graft.models.checkpoints import LoadedClassifier, load_classifier

BATCH_SIZE = 16


@dataclass(frozen=True)
class Explanation:
    """A image's label, and where the network saw it; an unreadable image has only `error`."""

    path: Path
    label: str = ""
    overlay: Image.Image | None = None  # the heat map on the cropped image, as the network sees it
    error: str = ""


def explain(loaded: LoadedClassifier, paths: Iterator[Path]) -> Iterator[Explanation]:
    """Yield an explanation of every image's most probable class, in order, a batch in memory at a time.

    Raises UserError for a network without feature maps, such as a vision transformer.
    """
    gradcam = import_extra("pytorch_grad_cam", "explain")
    device = best_device()
    classifier = loaded.classifier.to(device)
    normalise = normalisation(loaded.preprocessing).to(device)
    height, width = loaded.preprocessing.crop
    layer, needs_permuting = last_feature_maps(classifier, torch.zeros(1, 3, height, width, device=device))

    def channels_first(maps: Tensor) -> Tensor:
        return maps.permute(0, 3, 1, 2) if needs_permuting else maps

    decoded = decoded_images(loaded.preprocessing, paths, ahead=2 * BATCH_SIZE)
    with gradcam.GradCAM(classifier, [layer], reshape_transform=channels_first) as cam:
        while batch := list(islice(decoded, BATCH_SIZE)):
            readable = [image for _, image, _ in batch if image is not None]
            found: Iterator[tuple[str, Image.Image]] = iter(())
            if readable:
                images = torch.stack(readable)
                # Without targets it is each image's most probable class.
                heat = cam(normalise(images.to(device)), targets=None)
                labels = [loaded.class_names[i] for i in cam.outputs.argmax(dim=1).tolist()]
                found = iter(zip(labels, map(overlay, images, heat), strict=True))
            for path, image, error in batch:
                assert path is not None  # Images without a file are for `Model.predict`.
                yield Explanation(path, error=error) if image is None else Explanation(path, *next(found))


class Overlays:
    """Overlays of images by a trained model, each drawn once; `why_none` says why there can be none."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.why_none = ""
        self.drawn: dict[Path, Image.Image | None] = {}

    def of(self, paths: Sequence[Path]) -> dict[Path, Image.Image]:
        """Return the overlays of the images that can be read; none at all where `why_none` says why."""
        new = [path for path in dict.fromkeys(paths) if path not in self.drawn]
        if new and not self.why_none:
            try:
                refuse_exported(self.checkpoint)
                self.drawn |= {one.path: one.overlay for one in explain(self._loaded, iter(new))}
            except UserError as error:
                self.why_none = f"No Grad-CAM overlays: {str(error).removeprefix('explain: ')}"
        found = {path: self.drawn.get(path) for path in paths}
        return {path: image for path, image in found.items() if image is not None}

    @cached_property
    def _loaded(self) -> LoadedClassifier:
        return load_classifier(self.checkpoint)


def overlay(image: Tensor, heat: np.ndarray) -> Image.Image:
    """Return the uint8 image `[3, H, W]` under the heat map `[H, W]`, 0 to 1, dark to yellow."""
    shown_on, colours = (
        import_extra("pytorch_grad_cam.utils.image", "explain"),
        import_extra("cv2", "explain"),
    )
    shown = image.permute(1, 2, 0).numpy().astype(np.float32) / 255
    # Brighter is more in inferno, whoever looks at it; grad-cam's own rainbow needs red beside green.
    return Image.fromarray(
        shown_on.show_cam_on_image(shown, heat, use_rgb=True, colormap=colours.COLORMAP_INFERNO)
    )


def last_feature_maps(classifier: nn.Module, images: Tensor) -> tuple[nn.Module, bool]:
    """Return the last module whose output are feature maps, and whether they are `[B, h, w, C]`.

    Raises UserError where the last output with places in it are a transformer's tokens.
    """
    last: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and (
            (output.ndim == 3 and output.shape[1] > 1) or (output.ndim == 4 and min(sides(output)) > 1)
        ):
            last[:] = [(module, output)]

    hooks = [module.register_forward_hook(note) for module in classifier.modules()]
    try:
        with torch.no_grad():
            classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last or last[0][1].ndim == 3:
        raise UserError(
            "explain: this network has no feature maps at its end; Grad-CAM needs a convolutional one."
        )
    module, output = last[0]
    return module, is_channels_last(output)


def is_channels_last(maps: Tensor) -> bool:
    """Return whether maps of square images are `[B, h, w, C]`, as in some transformers."""
    return maps.shape[1] == maps.shape[2] != maps.shape[3]


def sides(maps: Tensor) -> tuple[int, int]:
    """Return the height and width of feature maps."""
    return (maps.shape[1], maps.shape[2]) if is_channels_last(maps) else (maps.shape[2], maps.shape[3])


def write_explanations(checkpoint: Path, input: str, output: Path) -> int:  # noqa: A002 -- the setting's name
    """Write an overlay as PNG for every image, say the labels, and return how many could not be read."""
    keep_freed_memory()
    import_extra("pytorch_grad_cam", "explain")
    refuse_exported(checkpoint)
    base, images = base_folder(input), find_images(input)
    searched = Path(input).expanduser()
    if searched.is_dir() and output.resolve().is_relative_to(searched.resolve()):
        raise UserError(f"output={output} lies in input={input}: the overlays would be explained too.")
    bad = 0
    for found in explain(load_classifier(checkpoint), images):
        if found.overlay is None:
            bad += 1
            sys.stdout.write(f"{found.path}  cannot be read: {found.error}\n")
            continue
        # The ending is kept: a.jpg and a.png may lie side by side.
        file = output / found.path.relative_to(base).parent / f"{found.path.name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        found.overlay.save(file)
        sys.stdout.write(f"{found.path}  {found.label}  {file}\n")
    return bad


def refuse_exported(checkpoint: Path) -> None:
    """Raise a UserError for an exported file, which keeps no gradients."""
    if checkpoint.suffix.lower() in OPENERS:
        raise UserError(
            f"checkpoint={checkpoint}: Grad-CAM needs a checkpoint; an exported file keeps no gradients."
        )
