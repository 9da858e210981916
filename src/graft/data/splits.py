"""Makes missing splits, stratified and seeded, and writes them down; takes such a file back."""

import csv
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from graft.data.folder import Sample, composed
from graft.data.groups import split_groups
from graft.data.layout import class_of
from graft.data.tables import read_rows
from graft.errors import UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
COLUMNS = ["path", "class", "split"]


def make_missing_splits(samples: Sequence[Sample], fractions: dict[str, float], seed: int) -> list[Sample]:
    """Return the samples, each with a split; val and test are taken from train where they are missing.

    `fractions` are shares of the images that the splits are made from. A split has its share to the
    rounded image unless small classes, of which each gets one at least, or images that stay together
    do not allow it. Raises UserError where a class has too few for a image in every split.
    """
    given = {sample.split for sample in samples} - {None}
    pool = [sample for sample in samples if sample.split in (None, "train")]
    kept = [sample for sample in samples if sample.split not in (None, "train")]
    missing = [split for split in ("test", "val") if split not in given]
    check_class_sizes(pool, missing)
    chance = random.Random(seed)
    sizes = {split: round(fractions[split] * len(pool)) for split in missing}
    classes, splits = {sample.class_name for sample in pool}, ["train", *missing]
    made, left = [], pool
    for split in missing:
        chosen = draw(left, sizes[split], chance, spare=1 + len(missing) - 1 - missing.index(split))
        made += [replace(sample, split=split) for sample in left if sample.path in chosen]
        left = [sample for sample in left if sample.path not in chosen]
    made += [replace(sample, split="train") for sample in left]
    if lacking(made, classes, splits) and any(sample.unit for sample in pool):
        made = split_groups(pool, {split: fractions[split] for split in missing}, seed)
    check_every_class_is_everywhere(made, classes, splits)
    return sorted(kept + made, key=lambda sample: sample.path)


def lacking(samples: Sequence[Sample], classes: set[str], splits: Sequence[str]) -> dict[str, list[str]]:
    """Return the splits that have no image of a class, by class."""
    present = {(sample.class_name, sample.split) for sample in samples}
    without = {name: [split for split in splits if (name, split) not in present] for name in sorted(classes)}
    return {name: missing for name, missing in without.items() if missing}


def check_every_class_is_everywhere(samples: list[Sample], classes: set[str], splits: list[str]) -> None:
    """Raise a UserError where images that stay together left a split without one of a class."""
    for name, missing in lacking(samples, classes, splits).items():
        few = "too few groups of data.keep_together hold it" if any(s.unit for s in samples) else "too few"
        raise UserError(
            f"class {name} has no image in {', '.join(sorted(missing))}: {few}. "
            "Add images, or give the splits with data.splits=FILE."
        )


def check_class_sizes(pool: list[Sample], missing: list[str]) -> None:
    """Raise a UserError where a class cannot have a image in every split that is to be made."""
    needed = 1 + len(missing)
    counts = Counter(sample.class_name for sample in pool)
    for name, count in sorted(counts.items()):
        if count < needed:
            raise UserError(
                f"class {name} has {count} images, but {needed} are needed for one in each of "
                f"train, {', '.join(sorted(missing, reverse=True))}: add images or remove the class."
            )


def draw(pool: list[Sample], size: int, chance: random.Random, spare: int) -> set[str]:
    """Return the paths of about `size` samples, exactly where they need not stay together.

    Every stratum (class and metadata value) gives its share, every class at least one image, and
    keeps `spare` for the splits that come after.
    """
    strata: dict[tuple[str, str], list[list[Sample]]] = defaultdict(list)
    for unit in units(pool):
        strata[unit[0].class_name, unit[0].stratum].append(unit)
    quotas = share_out(size, {key: sum(map(len, held)) for key, held in strata.items()}, spare)
    chosen: set[str] = set()
    for key in sorted(strata):
        held = strata[key]
        chance.shuffle(held)
        taken = 0
        for number, unit in enumerate(held):
            is_nearer = abs(taken + len(unit) - quotas[key]) < abs(taken - quotas[key])
            if is_nearer and number < len(held) - (1 if len(held) > 1 else 0):
                chosen.update(sample.path for sample in unit)
                taken += len(unit)
    return chosen


def units(pool: list[Sample]) -> list[list[Sample]]:
    """Return the samples that stay together: those of one unit, else each by itself.

    A unit of several classes counts as one of the class that it has most of.
    """
    together: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(pool, key=lambda sample: sample.path):
        together[f"unit {sample.unit}" if sample.unit else f"path {sample.path}"].append(sample)
    found = []
    for members in together.values():
        if len(members) == 1:
            found.append(members)
            continue
        common = Counter(member.class_name for member in members).most_common(1)[0][0]
        found.append(sorted(members, key=lambda member: member.class_name != common))
    return found


def share_out(size: int, counts: dict[tuple[str, str], int], spare: int) -> dict[tuple[str, str], int]:
    """Divide `size` among strata by their counts, largest remainders first, one a class at least."""
    total = sum(counts.values())
    exact = {key: size * count / total for key, count in counts.items()}
    quotas = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(counts, key=lambda key: (quotas[key] - exact[key], key))
    for key in by_remainder[: size - sum(quotas.values())]:
        quotas[key] += 1
    for name in sorted({name for name, _ in counts}):
        strata = [key for key in counts if key[0] == name]
        largest = max(strata, key=lambda key: (counts[key], key))
        if sum(quotas[key] for key in strata) == 0:
            quotas[largest] = 1
        while sum(counts[key] - quotas[key] for key in strata) < spare:
            quotas[max(strata, key=lambda key: (quotas[key], key))] -= 1
    while sum(quotas.values()) > size and max(quotas.values()) > 1:
        quotas[max(quotas, key=lambda key: (quotas[key], key))] -= 1
    return quotas


def check_splits(samples: Sequence[Sample], source: str) -> None:
    """Raise a UserError where the splits cannot be trained on and evaluated; `source` is what gave them."""
    classes = {split: {s.class_name for s in samples if s.split == split} for split in SPLITS}
    empty = [split for split in SPLITS if not classes[split]]
    if empty:
        raise UserError(f"{source} has no images in {', '.join(empty)}: put some of every class there.")
    if len(classes["train"]) < 2:
        only = ", ".join(classes["train"])
        raise UserError(f"{source} has one class only in train ({only}): add images of another class.")
    for split in ("val", "test"):
        unknown = sorted(classes[split] - classes["train"])
        if unknown:
            raise UserError(
                f"{source}: {split} has classes that train lacks ({', '.join(unknown[:10])}): "
                f"put some of their images into train, or take them out of {split}."
            )


def limit_splits(samples: Sequence[Sample], limit: int, seed: int) -> list[Sample]:
    """Return at most `limit` samples of each split, seeded and stratified by class.

    Raises UserError where the limit is smaller than the number of classes.
    """
    classes = {sample.class_name for sample in samples}
    if limit < len(classes):
        raise UserError(f"data.limit={limit} is less than the {len(classes)} classes; make it larger.")
    kept: list[Sample] = []
    for split in SPLITS:
        held = [sample for sample in samples if sample.split == split]
        if len(held) > limit:
            alone = [replace(sample, unit="") for sample in held]
            chosen = draw(alone, limit, random.Random(seed), spare=0)
            held = [sample for sample in held if sample.path in chosen]
        kept += held
    return kept


def write_splits(samples: Sequence[Sample], file: Path) -> None:
    """Write one row a image: path relative to the data folder, class, split."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A file's name may be no UTF-8: its bytes are written as they are.
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.writer(lines)
        writer.writerow(COLUMNS)
        writer.writerows((s.path, s.class_name, s.split) for s in sorted(samples, key=lambda s: s.path))


def read_splits(file: Path, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that a splits file names, with its splits.

    Raises UserError where the file is missing or no table, has other columns, names a image twice, in
    an unknown split or one that is not there. Images that it does not name are left out, with a
    warning.
    """
    if not file.is_file():
        raise UserError(f"data.splits={file}: there is no such file.")
    columns, rows = read_rows(file, errors="surrogateescape")
    if not set(COLUMNS) <= set(columns):
        raise UserError(f"data.splits={file} needs the columns {', '.join(COLUMNS)}.")
    # Another system may have written the same names decomposed.
    rows = [{**row, "path": composed(row["path"]), "class": class_of(row["class"])} for row in rows]
    by_path = {composed(sample.path): sample for sample in samples}
    refuse(file, "named twice", [p for p, n in Counter(row["path"] for row in rows).items() if n > 1])
    refuse(file, "not in the data folder", [row["path"] for row in rows if row["path"] not in by_path])
    refuse(file, "in no known split", [row["path"] for row in rows if row["split"] not in SPLITS])
    refuse(
        file,
        "of another class",
        [row["path"] for row in rows if by_path[row["path"]].class_name != row["class"]],
    )
    unnamed = by_path.keys() - {row["path"] for row in rows}
    if unnamed:
        first = min(unnamed)
        log.warning("%s does not name %d images, which are left out (%s)", file, len(unnamed), first)
    named = [replace(by_path[row["path"]], split=row["split"]) for row in rows]
    return sorted(named, key=lambda sample: sample.path)


def refuse(file: Path, what: str, paths: list[str]) -> None:
    """Raise a UserError that counts the paths and names the first ones."""
    if paths:
        raise UserError(f"data.splits={file}: {len(paths)} images {what} ({', '.join(paths[:3])}).")
