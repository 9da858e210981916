"""Refuses folders that miss their classes, with the folder or the layout that was probably meant."""

import logging
from collections.abc import Sequence
from pathlib import Path

from graft.data.layout import METADATA, split_of
from graft.data.walking import Parts, Walk
from graft.errors import UserError

log = logging.getLogger(__name__)


def log_left_out(walk: Walk, others: Sequence[Parts]) -> None:
    for folder in walk.loops:
        log.warning("%s is a link to a folder that it lies in, and is left out", folder)
    if walk.litter:
        names = ", ".join(sorted(set(walk.litter)))
        log.info("%s: %d folders of the system are left out (%s)", walk.root, len(walk.litter), names)
    files = ["/".join(parts) for parts in others if parts != (METADATA,)]
    if files:
        first = ", ".join(files[:3])
        log.warning("%s: %d files are no images and are left out (%s)", walk.root, len(files), first)


def refuse_images_outside_classes(root: Path, images: Sequence[Parts], depth: int) -> None:
    loose = [parts for parts in images if len(parts) <= depth]
    if not loose:
        return
    first = root.joinpath(*loose[0])
    advice = f"move it to {first.parent}/CLASS/"
    if len(loose[0]) == 2:
        advice += ", or, where the folders are classes, write data.layout=classes"
    elif len(loose) == len(images):
        advice += f"; where {root} is a single class folder, write data.root={root.resolve().parent}"
    raise UserError(f"{first} lies in no class folder: {advice}.")


def refuse_empty_classes(
    walk: Walk, images: Sequence[Parts], others: Sequence[Parts], depth: int, needs_train: bool
) -> None:
    """Raise a UserError for a class folder without images in train; log those in val and test."""
    with_images = {parts[:depth] for parts in images}
    for folder in walk.folders:
        if len(folder) != depth or folder in with_images or (depth == 2 and not split_of(folder[0])):
            continue
        held = [Path(other[-1]) for other in others if other[:depth] == folder]
        extensions = ", ".join(sorted({file.suffix.lower() or "no extension" for file in held})[:5])
        why = f"only files that cannot be read as images ({extensions})" if held else "no images"
        problem = f"the class folder {'/'.join(folder)} holds {why}"
        if images and needs_train and (depth == 1 or split_of(folder[0]) == "train"):
            raise UserError(f"data.root={walk.root}: {problem}; add images to it or remove it.")
        log.warning("%s: %s", walk.root, problem)


def refuse_wrong_root(root: Path, images: Sequence[Parts], with_splits: bool, needs_train: bool) -> None:
    if not images:
        raise UserError(
            f"data.root={root} holds no images: {root}/CLASS/*.jpg or {root}/train/CLASS/*.jpg is expected."
        )
    splits = {split_of(parts[0]) for parts in images} if with_splits else set()
    if needs_train and with_splits and "train" not in splits:
        raise UserError(f"{root} has {', '.join(sorted(map(str, splits)))} but no train folder.")
    folders = {parts[:2] if len(parts) > 2 else parts[:1] for parts in images}
    top = images[0][0]
    if not with_splits and len(folders) > 1 and all(len(f) == 2 and f[0] == top for f in folders):
        raise UserError(
            f"data.root={root} has one class only ({top}), which holds folders itself: "
            f"write data.root={root / top}."
        )
