"""Tables of the solar cells for the results: certain cells, folds, neighbours together, few images."""

import csv
import random
import re
from collections.abc import Iterator
from pathlib import Path

from sklearn.model_selection import StratifiedKFold, train_test_split

from graft.data.sources.elpv import prepare_elpv
from graft.data.tables import read_rows

ROOT = Path("data/elpv-0.5")
BLOCK = 60  # cells of a solar module, mostly: the package's list has runs of n * 60 cells of a wafer type
COLUMNS = ("path", "label", "wafer", "block", "split")
SPLITS = ("train", "val", "test")
TEST_SHARE = 0.25
FOLDS, VALIDATED = 5, 0.15

Cells = list[dict[str, str]]


def read_cells() -> Cells:
    """Return the solar cells in the package's order, with the block that each is in."""
    prepare_elpv(ROOT, cut=0.5)
    rows = sorted(read_rows(ROOT / "metadata.csv")[1].values(), key=lambda row: Path(row["path"]).name)
    return [
        {**row, "label": Path(row["path"]).parent.name, "block": str(number // BLOCK), "split": ""}
        for number, row in enumerate(rows)
    ]


def write_table(file: Path) -> None:
    """Write the table that the file's name asks for; ValueError for an unknown name.

    elpv-certain: the cells that the annotators agreed on, with p = 0 or 1. elpv-foldK: these, with fold K of
    five as the test images. elpv-blocks: all cells.
    elpv-N-seedM: N cells of each class, one in five for validation, and a quarter of all for the test.
    """
    cells = read_cells()
    kind = file.stem.removeprefix("elpv-")
    certain = [cell for cell in cells if float(cell["probability"]) in (0.0, 1.0)]
    if kind == "certain":
        cells = certain
    elif found := re.fullmatch(rf"fold([1-{FOLDS}])", kind):
        cells = list(folded(certain, int(found[1])))
    elif found := re.fullmatch(r"(\d+)-seed(\d+)", kind):
        random.Random(int(found[2])).shuffle(cells)
        cells = list(drawn(cells, int(found[1])))
    elif kind != "blocks":
        raise ValueError(f"{file.name} is no table of solar cells.")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(cells)


def folded(cells: Cells, fold: int) -> Iterator[dict[str, str]]:
    """Yield the cells with their splits: a fold for the test, a part of the others for validation."""
    labels = [cell["label"] for cell in cells]
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    others, tested = list(splitter.split(cells, labels))[fold - 1]
    _, validated = train_test_split(
        others, test_size=VALIDATED, stratify=[labels[number] for number in others], random_state=fold
    )
    splits = dict.fromkeys(tested, "test") | dict.fromkeys(validated, "val")
    for number, cell in enumerate(cells):
        yield {**cell, "split": splits.get(number, "train")}


def drawn(cells: Cells, images: int) -> Iterator[dict[str, str]]:
    for label in sorted({cell["label"] for cell in cells}):
        ours = [cell for cell in cells if cell["label"] == label]
        tested, validated = round(TEST_SHARE * len(ours)), max(1, images // 5)
        if len(ours) < tested + images:
            raise ValueError(f"{label} has only {len(ours) - tested} images that are not for the test.")
        ends = (images - validated, images, images + tested)
        for number, cell in enumerate(ours[: ends[-1]]):
            yield {**cell, "split": SPLITS[sum(number >= end for end in ends)]}
