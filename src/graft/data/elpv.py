"""Turns the package elpv-dataset, 2,624 images of solar cells, into an image folder."""

import csv
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from graft.errors import UserError

log = logging.getLogger(__name__)

LICENCE = "ELPV solar cells (Buerhop-Lutz, Deitsch et al. 2018): CC BY-NC-SA 4.0, for non-commercial use only"
MARKER = ".dataset.json"  # Written last: a folder without it is not finished.


def prepare_elpv(root: Path, cut: float) -> Path:
    """Make `root/{functional,defective}/*.png` and `root/metadata.csv` unless they are there already.

    A cell is defective where its probability of a defect is above `cut`. The folder is made
    beside `root` and renamed, so an interrupted preparation leaves nothing that looks finished.
    Raises UserError where the package is missing, or `root` holds something else or another cut.
    """
    if not 0 <= cut < 1:
        raise UserError(f"data.cut={cut}: it is a probability, 0 <= cut < 1.")
    labels = read_labels()
    marker = {"dataset": "elpv", "cut": cut, "images": len(labels), "licence": LICENCE}
    if is_finished(root, marker):
        return root
    refuse_other_folder(root, cut)
    log.info("%s", LICENCE)
    log.info("preparing  %s: %d images, defective where the probability is above %g", root, len(labels), cut)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as made:
        fill(Path(made) / "new", labels, cut, marker)
        if is_finished(root, marker):
            return root  # Another process was faster, and may be reading it.
        if root.exists():
            root.rename(Path(made) / "old")
        try:
            (Path(made) / "new").rename(root)
        except OSError:
            if read_marker(root) != marker:  # Else another process was faster, with the same result.
                raise
    return root


def package_data() -> Path:
    """Return the folder of the package's images and labels."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise UserError('data=elpv needs the package elpv-dataset: pip install -e ".[elpv]".')
    return Path(package.origin).parent / "data"


def read_labels() -> list[tuple[Path, float, str]]:
    """Return each cell's file, probability of a defect, and wafer type (mono or poly)."""
    data = package_data()
    rows = [line.split() for line in (data / "labels.csv").read_text(encoding="utf-8").splitlines()]
    return [(data / file, float(probability), wafer) for file, probability, wafer in rows]


def read_marker(root: Path) -> dict[str, object]:
    """Return what the folder was made with, empty where it was not finished."""
    try:
        marker: dict[str, object] = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker


def is_finished(root: Path, marker: dict[str, object]) -> bool:
    """Return whether the folder was made with what the marker says, and is whole."""
    return read_marker(root) == marker and count_images(root) == marker["images"]


def count_images(root: Path) -> int:
    """Return how many images the two class folders hold."""
    return sum(1 for _ in root.glob("*/*.png"))


def refuse_other_folder(root: Path, cut: float) -> None:
    """Raise a UserError where the folder was not made here, or with a cut that another run may be using."""
    is_ours = (root / MARKER).exists() or not any(root.glob("*"))
    if root.exists() and not is_ours:
        raise UserError(f"data.root={root} holds something else; move it away or choose another data.root.")
    made_with = read_marker(root).get("cut", cut)
    if made_with != cut:
        raise UserError(
            f"data.root={root} holds the cells as divided by data.cut={made_with}; "
            f"choose another data.root for data.cut={cut}."
        )


def fill(folder: Path, labels: list[tuple[Path, float, str]], cut: float, marker: dict[str, object]) -> None:
    """Copy the images into class folders, write the metadata, and last the marker."""
    rows = []
    for name in ("functional", "defective"):
        (folder / name).mkdir(parents=True)
    for image, probability, wafer in labels:
        path = f"{'defective' if probability > cut else 'functional'}/{image.name}"
        shutil.copyfile(image, folder / path)
        rows.append((path, wafer, probability))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "wafer", "probability"])
        writer.writerows(sorted(rows))
    with (folder / MARKER).open("w", encoding="utf-8") as file:
        json.dump(marker, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
