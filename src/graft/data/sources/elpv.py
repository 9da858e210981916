"""The package elpv-dataset, 2,624 images of solar cells, as an image folder."""

import csv
import importlib.util
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graft.data.layout import METADATA
from graft.data.sample import Sample
from graft.data.sources.folder import Folder
from graft.data.tables import read_rows
from graft.errors import UserError
from graft.files import replacing

if TYPE_CHECKING:
    from graft.tasks.task import Task

log = logging.getLogger(__name__)

LICENCE = "ELPV solar cells (Buerhop-Lutz, Deitsch et al. 2018): CC BY-NC-SA 4.0, for non-commercial use only"
COLUMNS = ["path", "wafer", "probability", "defective", "mono"]  # of metadata.csv
MARKER = ".dataset.json"  # Written last: a folder without it is not finished.
# Columns of metadata.csv that are the targets; for other tasks it is the folder, functional or defective.
TARGETS = {"multilabel": ("defective", "mono"), "regression": ("probability",)}


class Elpv(Folder):
    """The solar cells, prepared as an image folder where it is missing.

    A cell is defective where its probability of a defect is above `cut`. The targets of task=multilabel are
    `defective` and `mono` (a monocrystalline wafer), that of task=regression is the probability.
    """

    def __init__(
        self,
        root: str,
        cut: float = 0.5,
        stratify_by: str | None = None,
        keep_together: str | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__(root, "classes", stratify_by, keep_together, channels)
        self.cut = cut

    def target_names(self, task: "Task") -> Sequence[str]:
        return TARGETS.get(task.name, ())

    def read(self, task: "Task", needs_train: bool = True) -> list[Sample]:
        prepare_elpv(self.root, self.cut)
        columns = self.target_names(task)
        if not columns:
            return super().read(task, needs_train)
        rows = {row["path"]: row for row in read_rows(self.root / METADATA)[1].values()}
        return [
            replace(sample, target=task.read({column: rows[sample.path][column] for column in columns}))
            for sample in self.scan(lambda folder: (folder,), needs_train)
        ]


def prepare_elpv(root: Path, cut: float) -> Path:
    """Make `root/{functional,defective}/*.png` and `root/metadata.csv` unless they are there already.

    The folder is made beside `root` and renamed, so an interrupted preparation leaves nothing that looks
    finished. Raises UserError where the package is missing, or `root` holds something else or another cut.
    """
    labels = read_labels()
    marker = {"dataset": "elpv", "cut": cut, "images": len(labels), "licence": LICENCE, "columns": COLUMNS}
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


def read_labels() -> list[tuple[Path, float, str]]:
    """Return each cell's file, probability of a defect, and wafer type (mono or poly)."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise UserError('data=elpv needs the package elpv-dataset: pip install -e ".[elpv]".')
    data = Path(package.origin).parent / "data"
    rows = [line.split() for line in (data / "labels.csv").read_text(encoding="utf-8").splitlines()]
    return [(data / file, float(probability), wafer) for file, probability, wafer in rows]


def read_marker(root: Path) -> dict[str, object]:
    try:
        marker: dict[str, object] = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker


def is_finished(root: Path, marker: dict[str, object]) -> bool:
    return read_marker(root) == marker and count_images(root) == marker["images"]


def count_images(root: Path) -> int:
    return sum(1 for _ in root.glob("*/*.png"))


def refuse_other_folder(root: Path, cut: float) -> None:
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
    rows = []
    for name in ("functional", "defective"):
        (folder / name).mkdir(parents=True)
    for image, probability, wafer in labels:
        path = f"{'defective' if probability > cut else 'functional'}/{image.name}"
        shutil.copyfile(image, folder / path)
        rows.append((path, wafer, probability, int(probability > cut), int(wafer == "mono")))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows))
    with replacing(folder / MARKER, flush=True) as file:
        file.write(json.dumps(marker, indent=2).encode())
