"""Finds the labelled images of a folder: `root/CLASS/*` or `root/{train,val,test}/CLASS/*`."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graft.data.images import image_endings
from graft.data.layout import class_of, has_splits, split_of
from graft.data.tables import read_rows
from graft.data.walking import Parts, Walk
from graft.errors import UserError, suggestion

log = logging.getLogger(__name__)

METADATA = "metadata.csv"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image."""

    path: str  # relative to the folder, with slashes
    class_name: str
    split: str | None = None  # train, val or test; None where it is still to be made
    stratum: str = ""  # splits keep the shares of these values ...
    unit: str = ""  # ... and keep images of the same unit together, where it is not empty
    digest: str = ""  # a hash of the file's bytes


def scan_folder(root: Path, layout: str = "auto", needs_train: bool = True) -> list[Sample]:
    """Return the images of `root`, sorted by path.

    `layout` says what the top folders are: `classes`, `splits`, or `auto`: splits where all of them have
    a name for one. Without `needs_train`, split folders may lack train, and class folders may be empty.
    Raises UserError where the folder is missing, cannot be listed, holds no images, has them outside class
    folders, or has a class folder without images.
    """
    refuse_what_is_no_folder(root)
    walk = Walk(root)
    found = list(walk)
    if walk.unreadable:
        parts, reason = next(iter(walk.unreadable.items()))
        raise UserError(f"data.root={root}: {root.joinpath(*parts)} cannot be listed ({reason}).")
    endings = image_endings()
    images: list[Parts] = []
    others: list[Parts] = []
    for parts in found:
        # A hundred thousand files: no Path objects.
        is_image = os.path.splitext(parts[-1])[1].lower() in endings  # noqa: PTH122
        (images if is_image else others).append(parts)
    mention(walk, others)
    top = [parts[0] for parts in walk.folders if len(parts) == 1]
    with_splits = has_splits(root, top, layout)
    depth = 2 if with_splits else 1  # of a class folder
    if with_splits:
        images = [parts for parts in images if len(parts) == 1 or split_of(parts[0])]
    refuse_images_outside_classes(root, images, depth)
    refuse_empty_classes(root, walk.folders, images, others, depth, needs_train)
    samples = [
        Sample("/".join(parts), class_of(parts[depth - 1]), split_of(parts[0]) if with_splits else None)
        for parts in images
    ]
    check_layout(root, samples, needs_train)
    return samples


def refuse_what_is_no_folder(root: Path) -> None:
    """Raise a UserError where the folder is missing, or is a file."""
    if root.is_dir():
        return
    if root.is_file():
        advice = "unzip it and write the folder" if root.suffix.lower() in ARCHIVES else "write its folder"
        raise UserError(f"data.root={root} is a file: {advice}.")
    near = [folder.name for folder in root.parent.iterdir()] if root.parent.is_dir() else []
    raise UserError(f"data.root={root}: there is no such folder.{suggestion(root.name, near)}")


def mention(walk: Walk, others: list[Parts]) -> None:
    """Say in a line each what is left out, so that nothing is left out in silence."""
    for folder in walk.loops:
        log.warning("%s is a link to a folder that it lies in, and is left out", folder)
    if walk.litter:
        names = ", ".join(sorted(set(walk.litter)))
        log.info("%s: %d folders of the system are left out (%s)", walk.root, len(walk.litter), names)
    named = ["/".join(parts) for parts in others if parts != (METADATA,)]
    if named:
        log.warning(
            "%s: %d files are no images and are left out (%s)", walk.root, len(named), ", ".join(named[:3])
        )


def refuse_images_outside_classes(root: Path, images: Sequence[Parts], depth: int) -> None:
    """Raise a UserError for an image above the class folders, with the folder that was probably meant."""
    loose = [parts for parts in images if len(parts) <= depth]
    if not loose:
        return
    first = root.joinpath(*loose[0])
    if depth == 2 and len(loose[0]) > 1:
        raise UserError(
            f"{first} lies in no class folder; move it to {first.parent}/CLASS/, or, where the folders "
            "are classes, write data.layout=classes."
        )
    parent = root.resolve().parent
    beside = [folder for folder in sorted(parent.iterdir()) if folder.is_dir() and has_image(folder)]
    if len(loose) == len(images) and len(beside) > 1:
        raise UserError(f"data.root={root} is a single class folder: write data.root={parent}.")
    raise UserError(f"{first} lies in no class folder; move it to {root}/CLASS/.")


def has_image(folder: Path) -> bool:
    """Return whether an image lies in the folder itself."""
    endings = image_endings()
    try:
        return any(file.suffix.lower() in endings for file in folder.iterdir())
    except OSError:
        return False


def refuse_empty_classes(
    root: Path,
    folders: Sequence[Parts],
    images: Sequence[Parts],
    others: Sequence[Parts],
    depth: int,
    needs_train: bool,
) -> None:
    """Raise a UserError for a class folder without images in train; say which ones val and test have."""
    classes = [parts for parts in folders if len(parts) == depth]
    if depth == 2:
        classes = [parts for parts in classes if split_of(parts[0])]
    counts = Counter(parts[:depth] for parts in images)
    for parts in classes:
        if counts[parts]:
            continue
        name = "/".join(parts)
        held = [other for other in others if other[:depth] == parts]
        endings = sorted({Path(other[-1]).suffix.lower() or "no ending" for other in held})
        why = f"only files that cannot be read as images ({', '.join(endings[:5])})" if held else "no images"
        if counts and needs_train and (depth == 1 or split_of(parts[0]) == "train"):
            raise UserError(
                f"data.root={root}: the class folder {name} holds {why}; add images to it or remove it."
            )
        log.warning("%s: the class folder %s holds %s", root, name, why)


def check_layout(root: Path, samples: list[Sample], needs_train: bool) -> None:
    """Raise a UserError where there are no images, no train folder, or one folder with all others in it."""
    if not samples:
        raise UserError(
            f"data.root={root} holds no images: {root}/CLASS/*.jpg or {root}/train/CLASS/*.jpg is expected."
        )
    splits = {sample.split for sample in samples}
    if needs_train and None not in splits and "train" not in splits:
        raise UserError(f"{root} has {', '.join(sorted(map(str, splits)))} but no train folder.")
    if len({sample.class_name for sample in samples}) == 1 and None in splits:
        inner = {sample.path.split("/")[1] for sample in samples if sample.path.count("/") > 1}
        if len(inner) > 1 and all(sample.path.count("/") > 1 for sample in samples):
            folder = root / samples[0].path.split("/")[0]
            raise UserError(
                f"data.root={root} has one class only ({samples[0].class_name}), which holds folders itself: "
                f"write data.root={folder}."
            )


def with_metadata(
    root: Path, samples: list[Sample], stratify_by: str | None, keep_together: str | None
) -> list[Sample]:
    """Return the samples with the values of `root/metadata.csv` that splits have to respect.

    Raises UserError where the file, a column or an image's row is missing, or an image has two rows.
    """
    if stratify_by is None and keep_together is None:
        return samples
    file = root / METADATA
    if not file.is_file():
        raise UserError(f"data.stratify_by and data.keep_together need {file} (columns: path, ...).")
    columns, listed = read_rows(file)
    for key, column in (("stratify_by", stratify_by), ("keep_together", keep_together)):
        if column is not None and column not in columns:
            raise UserError(f"data.{key}={column}: {file} has no such column.{suggestion(column, columns)}")
    rows: dict[str, dict[str, str]] = {}
    for row in listed:
        path = composed(row.get("path", ""))
        if path in rows:
            raise UserError(f"{file} has two rows for {path}: leave one, so that its values are plain.")
        if path:
            rows[path] = row
    missing = [sample.path for sample in samples if composed(sample.path) not in rows]
    if missing:
        raise UserError(f"{file} has no row for {len(missing)} images (first: {missing[0]}).")
    return [
        replace(
            sample,
            stratum=rows[composed(sample.path)][stratify_by] if stratify_by else "",
            unit=rows[composed(sample.path)][keep_together] if keep_together else "",
        )
        for sample in samples
    ]


def composed(path: str) -> str:
    """Return a path as tables name it: composed (NFC), with slashes, without `./` before it."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).removeprefix("./")
