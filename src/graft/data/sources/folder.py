"""A folder of images in class folders: `root/CLASS/*` or `root/{train,val,test}/CLASS/*`."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graft.data.images import image_extensions
from graft.data.layout import METADATA, class_of, composed, has_splits, refuse_missing_folder, split_of
from graft.data.sample import Sample
from graft.data.sources.folder_checks import (
    log_left_out,
    refuse_empty_classes,
    refuse_images_outside_classes,
    refuse_wrong_root,
)
from graft.data.tables import read_rows, refuse_missing_columns
from graft.data.walking import Parts, Walk
from graft.errors import UserError
from graft.tasks import Target

if TYPE_CHECKING:
    from graft.tasks.task import Task


class Folder:
    """A folder of images; the names of its class folders are the targets.

    `layout` says what the top folders are: `classes`, `splits`, or `auto`: splits where all of them have a
    name for one. `stratify_by` and `keep_together` name columns of `root/metadata.csv`.
    """

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        stratify_by: str | None = None,
        keep_together: str | None = None,
        channels: int = 3,
    ) -> None:
        self.root = Path(root).expanduser()
        self.layout = layout
        self.stratify_by, self.keep_together = stratify_by, keep_together
        self.extensions = image_extensions(channels)

    def target_names(self, task: "Task") -> Sequence[str]:
        return ("class",)

    def read(self, task: "Task", needs_train: bool = True) -> list[Sample]:
        return self.scan(lambda folder: self._target(task, folder), needs_train)

    def scan(self, target_of: Callable[[str], Target], needs_train: bool) -> list[Sample]:
        """Return the images of the folder, sorted by path; `target_of` gives a class folder's target.

        Without `needs_train`, split folders may lack train, and class folders may be empty. Raises UserError
        where the folder is missing, cannot be listed, holds no images, has them outside class folders, or has
        a class folder without images.
        """
        refuse_missing_folder(self.root)
        walk = Walk(self.root)
        files = list(walk)
        walk.refuse_unreadable()
        images: list[Parts] = []
        others: list[Parts] = []
        for parts in files:
            # A hundred thousand files: no Path objects.
            is_image = os.path.splitext(parts[-1])[1].lower() in self.extensions  # noqa: PTH122
            (images if is_image else others).append(parts)
        log_left_out(walk, others)
        top = [parts[0] for parts in walk.folders if len(parts) == 1]
        with_splits = has_splits(self.root, top, self.layout)
        depth = 2 if with_splits else 1  # of a class folder
        if with_splits:
            images = [parts for parts in images if len(parts) == 1 or split_of(parts[0])]
        refuse_images_outside_classes(self.root, images, depth)
        refuse_empty_classes(walk, images, others, depth, needs_train)
        refuse_wrong_root(self.root, images, with_splits, needs_train)
        targets = {name: target_of(name) for name in {parts[depth - 1] for parts in images}}
        samples = [
            Sample("/".join(parts), targets[parts[depth - 1]], split_of(parts[0]) if with_splits else None)
            for parts in images
        ]
        return with_metadata(self.root, samples, self.stratify_by, self.keep_together)

    def _target(self, task: "Task", folder: str) -> Target:
        try:
            return task.read({"class": class_of(folder)})
        except ValueError as error:
            raise UserError(
                f"data.root={self.root}: the folder {folder} is no target of task={task.name} ({error}); "
                "give the targets in a table: data=table data.file=FILE."
            ) from error


def with_metadata(
    root: Path, samples: list[Sample], stratify_by: str | None, keep_together: str | None
) -> list[Sample]:
    """Return the samples with the values of `root/metadata.csv` that splits have to respect.

    Raises UserError where the file, a column or an image's row is missing, or an image has two rows.
    """
    keys = {"data.stratify_by": stratify_by, "data.keep_together": keep_together}
    wanted = [(key, column) for key, column in keys.items() if column is not None]
    if not wanted:
        return samples
    file = root / METADATA
    if not file.is_file():
        raise UserError(f"data.stratify_by and data.keep_together need {file} (columns: path, ...).")
    columns, rows = read_rows(file)
    refuse_missing_columns(file, columns, [("the column", "path"), *wanted])
    by_path = {composed(row["path"]): row | {"": ""} for row in rows.values()}  # An index has no name.
    if len(by_path) < len(rows):
        path, _ = Counter(composed(row["path"]) for row in rows.values()).most_common(1)[0]
        raise UserError(f"{file} has two rows for {path}: leave one, so that its values are plain.")
    missing = [sample.path for sample in samples if composed(sample.path) not in by_path]
    if missing:
        raise UserError(f"{file} has no row for {len(missing)} images (first: {missing[0]}).")
    values = [by_path[composed(sample.path)] for sample in samples]
    return [
        replace(sample, stratify_value=row.get(stratify_by or "", ""), group=row.get(keep_together or "", ""))
        for sample, row in zip(samples, values, strict=True)
    ]
