"""Tells whether the top folders of a data set are classes or splits."""

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from graft.errors import UserError, suggestion

log = logging.getLogger(__name__)

METADATA = "metadata.csv"  # of a folder, see data.stratify_by
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
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
    """Return whether the top folders are splits; log it where their names leave it open.

    Raises UserError where `splits` is asked for and no folder is one.
    """
    splits = {folder: split for folder in top if (split := split_of(folder)) is not None}
    others = [folder for folder in top if folder not in splits]
    if layout == "splits" and not splits:
        known = ", ".join(names[0] for names in SPLIT_NAMES.values())
        raise UserError(f"data.layout=splits: {root} has no folder {known}, or with another name for one.")
    if not splits or layout == "classes":
        return False
    if others and layout == "auto":
        message = (
            "layout     %s: all folders are classes, also %s; write data.layout=splits if these are splits"
        )
        log.info(message, root, ", ".join(sorted(splits)))
        return False
    if others:
        log.warning("%s: %s are no splits and are left out", root, ", ".join(others))
    renamed = [f"{folder} is {split}" for folder, split in sorted(splits.items()) if folder != split]
    if renamed:
        log.info("layout     %s (data.layout=classes: they are classes)", ", ".join(renamed))
    return True


def composed(path: str) -> str:
    """Return a path as tables name it: composed (NFC), with slashes, without `./` before it."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).removeprefix("./")


def refuse_missing_folder(root: Path) -> None:
    if root.is_dir():
        return
    if root.is_file():
        advice = "unzip it and write the folder" if root.suffix.lower() in ARCHIVES else "write its folder"
        raise UserError(f"data.root={root} is a file: {advice}.")
    near = [folder.name for folder in root.parent.iterdir()] if root.parent.is_dir() else []
    raise UserError(f"data.root={root}: there is no such folder.{suggestion(root.name, near)}")
