"""Splits images that belong together (one patient, one module) where there are only a few such groups."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

from graft.data.folder import Sample

SHUFFLES = 20


def split_groups(pool: Sequence[Sample], fractions: dict[str, float], seed: int) -> list[Sample]:
    """Return the samples with splits in which each group is whole and every class occurs, if that can be.

    `fractions` are shares of `pool`, by split; the rest is train. Each split is a fold of scikit-learn's
    StratifiedGroupKFold: of several shuffles, the one that leaves the fewest classes out and is nearest to
    the fraction.
    """
    made: list[Sample] = []
    left = sorted(pool, key=lambda sample: sample.path)
    splits = list(fractions)
    for number, split in enumerate(splits):
        size = fractions[split] * len(pool)
        chosen = best_fold(left, size, later=len(splits) - 1 - number, seed=seed)
        made += [replace(sample, split=split) for i, sample in enumerate(left) if i in chosen]
        left = [sample for i, sample in enumerate(left) if i not in chosen]
    return made + [replace(sample, split="train") for sample in left]


def best_fold(samples: Sequence[Sample], size: float, later: int, seed: int) -> set[int]:
    """Return the indices of the fold nearest to `size` images that has every class, and leaves enough.

    Train and `later` splits after this one still need a group of every class each.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # It takes a second to import.

    classes = [sample.class_name for sample in samples]
    groups = [f"unit {sample.unit}" if sample.unit else f"path {sample.path}" for sample in samples]
    folds = min(len(set(groups)), max(2, round(len(samples) / max(size, 1))))
    found: tuple[tuple[int, float], set[int]] = ((len(samples), 0.0), set())
    if folds < 2:
        return found[1]
    for shuffle in range(SHUFFLES):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**31 + shuffle)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About classes of fewer images than folds.
            parts = list(splitter.split(classes, classes, groups))
        for rest, chosen in parts:
            without = len(set(classes) - {classes[i] for i in chosen})
            for name in sorted(set(classes)):
                remaining = {groups[i] for i in rest if classes[i] == name}
                without += max(0, 1 + later - len(remaining))
            rank = (without, abs(len(chosen) - size))
            if rank < found[0]:
                found = rank, {int(i) for i in chosen}
    return found[1]
