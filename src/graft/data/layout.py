"""Tells whether the top folders of a data set are classes or splits."""

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from graft.errors import UserError

log = logging.getLogger(__name__)

LAYOUTS = ("auto", "classes", "splits")
# The names that data sets in use give to their splits, in lower case.
SPLIT_NAMES = {
    "train": ("train", "training", "train_set", "trainset", "training_set", "trn"),
    "val": ("val", "valid", "validation", "eval", "evaluation", "dev", "val_set", "valset", "validation_set"),
    "test": ("test", "testing", "test_set", "testset", "testing_set", "tst"),
}
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def split_of(folder: str) -> str | None:
    """Return the split that a folder's name means, without regard to case; None where it means none."""
    return SPLIT_OF.get(folder.lower().replace("-", "_").replace(" ", "_"))


def class_of(folder: str) -> str:
    """Return the class that a folder's name means: composed (NFC) Unicode, whatever the file system wrote.

    Bytes that are no UTF-8 are written as `\\xe9`.
    """
    text = folder.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def has_splits(root: Path, top: Sequence[str], layout: str) -> bool:
    """Return whether the top folders are splits; say so where it is not plain.

    Raises UserError for an unknown layout, and where `splits` is asked for and no folder is one.
    """
    if layout not in LAYOUTS:
        raise UserError(f"data.layout={layout}: write one of {', '.join(LAYOUTS)}.")
    splits = {folder: split for folder in top if (split := split_of(folder)) is not None}
    others = [folder for folder in top if folder not in splits]
    if layout == "splits" and not splits:
        known = ", ".join(names[0] for names in SPLIT_NAMES.values())
        raise UserError(f"data.layout=splits: {root} has no folder {known}, or with another name for one.")
    if not splits or layout == "classes":
        return False
    if others and layout == "auto":
        log.info(
            "layout     the folders of %s are taken for classes, also %s; write data.layout=splits "
            "if only these are splits",
            root,
            ", ".join(sorted(splits)),
        )
        return False
    if others:
        log.warning("%s: %s are no splits and are left out", root, ", ".join(others))
    renamed = [f"{folder} is {split}" for folder, split in sorted(splits.items()) if folder != split]
    if renamed:
        log.info("layout     %s (data.layout=classes: they are classes)", ", ".join(renamed))
    return True
