"""Makes missing splits, stratified and seeded."""

import logging
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from graft.data.sample import SPLITS, Sample
from graft.errors import UserError
from graft.tasks.task import Task

log = logging.getLogger(__name__)

SHUFFLES = 20  # of the groups, where there are only a few
Stratum = tuple[str, str]  # of the target, and of data.stratify_by


def make_missing_splits(
    samples: Sequence[Sample], fractions: dict[str, float], seed: int, needs_every_stratum: bool = True
) -> list[Sample]:
    """Return the samples, each with a split; val and test are taken from train where they are missing.

    `fractions` are shares of the images that the splits are made from; images that stay together, and small
    strata, may change them. Raises UserError where a stratum has too few for an image in every split; if
    that need not be, the strata are left out where they do not fit.
    """
    given = {sample.split for sample in samples} - {None}
    pool = [sample for sample in samples if sample.split in (None, "train")]
    kept = [sample for sample in samples if sample.split not in (None, "train")]
    missing = [split for split in ("test", "val") if split not in given]
    if needs_every_stratum:
        check_stratum_sizes(pool, missing)
    strata, splits = {sample.stratum for sample in pool}, ["train", *missing]
    sizes = {split: round(fractions[split] * len(pool)) for split in missing}
    made = with_splits(pool, sizes, partial(draw, generator=random.Random(seed)))
    has_groups = any(sample.group for sample in pool)
    if has_groups and lacking(made, strata, splits):
        made = with_splits(pool, sizes, partial(best_fold, seed=seed))
    if not needs_every_stratum and lacking(made, strata, splits):
        plain = [replace(sample, stratum="") for sample in pool]
        by_chance = partial(draw, generator=random.Random(seed))
        drawn = with_splits(plain, sizes, partial(best_fold, seed=seed) if has_groups else by_chance)
        chosen = {sample.path: sample.split for sample in drawn}
        made, strata = [replace(sample, split=chosen[sample.path]) for sample in pool], set()
    for name, lacks in lacking(made, strata, splits).items():
        few = " groups (data.keep_together or data.group_column)" if has_groups else ""
        raise UserError(
            f"class {name} has no image in {', '.join(sorted(lacks))}: it has too few{few}. "
            "Add images, or give the splits with data.splits=FILE."
        )
    return sorted(kept + made, key=lambda sample: sample.path)


def with_splits(
    pool: Sequence[Sample], sizes: Mapping[str, int], choose: Callable[..., set[str]]
) -> list[Sample]:
    """Return the samples with splits, and those that `choose` leaves in train.

    `choose(samples, size, spare)` returns the paths of about `size` samples, and leaves an image of every
    stratum of the target to each of the `spare` splits that come after.
    """
    made: list[Sample] = []
    left = list(pool)
    for number, (split, size) in enumerate(sizes.items()):
        chosen = choose(left, size, spare=len(sizes) - number)
        made += [replace(sample, split=split) for sample in left if sample.path in chosen]
        left = [sample for sample in left if sample.path not in chosen]
    return made + [replace(sample, split="train") for sample in left]


def lacking(samples: Sequence[Sample], strata: set[str], splits: Sequence[str]) -> dict[str, list[str]]:
    present = {(sample.stratum, sample.split) for sample in samples}
    without = {name: [split for split in splits if (name, split) not in present] for name in sorted(strata)}
    return {name: missing for name, missing in without.items() if missing}


def check_stratum_sizes(pool: list[Sample], missing: list[str]) -> None:
    needed = 1 + len(missing)
    for name, count in sorted(Counter(sample.stratum for sample in pool).items()):
        if count < needed:
            raise UserError(
                f"class {name} has {count} image{'s' * (count != 1)}, but {needed} are needed for one in "
                f"each of train, {', '.join(sorted(missing, reverse=True))}: add images or remove the class."
            )


def draw(pool: list[Sample], size: int, generator: random.Random, spare: int) -> set[str]:
    """Return the paths of about `size` samples.

    Every stratum of the target gives at least one image, and keeps `spare` for the splits that come after.
    """
    strata: dict[Stratum, list[list[Sample]]] = defaultdict(list)
    for members in groups(pool):
        strata[members[0].stratum, members[0].stratify_value].append(members)
    quotas = share_out(size, {key: sum(map(len, held)) for key, held in strata.items()}, spare)
    chosen: set[str] = set()
    for key in sorted(strata):
        held = strata[key]
        generator.shuffle(held)
        taken = 0
        for number, members in enumerate(held):
            is_nearer = abs(taken + len(members) - quotas[key]) < abs(taken - quotas[key])
            if is_nearer and number < len(held) - (1 if len(held) > 1 else 0):
                chosen.update(sample.path for sample in members)
                taken += len(members)
    return chosen


def groups(pool: list[Sample]) -> list[list[Sample]]:
    """Return the samples that stay together: those of one group, else each by itself.

    A group of several strata counts as one of the stratum that it has most of, whose samples come first.
    """
    together: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(pool, key=lambda sample: sample.path):
        together[group_of(sample)].append(sample)
    for members in together.values():
        common = Counter(member.stratum for member in members).most_common(1)[0][0]
        members.sort(key=lambda member: member.stratum != common)
    return list(together.values())


def share_out(size: int, counts: dict[Stratum, int], spare: int) -> dict[Stratum, int]:
    """Divide `size` among strata by their counts, largest remainders first; each target gets one at least."""
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


def group_of(sample: Sample) -> str:
    """Return what tells a sample's group from all others; an image without a group is one by itself."""
    return f"group {sample.group}" if sample.group else f"path {sample.path}"


def best_fold(pool: Sequence[Sample], size: int, spare: int, seed: int) -> set[str]:
    """Return the paths of about `size` samples: whole groups, with every stratum, if that can be.

    They are a fold of scikit-learn's StratifiedGroupKFold: of several shuffles, the one that leaves the
    fewest strata out, here and in the `spare` splits after, and is nearest to the size.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # It takes a second to import.

    samples = sorted(pool, key=lambda sample: sample.path)
    strata = [sample.stratum for sample in samples]
    groups = [group_of(sample) for sample in samples]
    folds = min(len(set(groups)), max(2, round(len(samples) / max(size, 1))), max(Counter(strata).values()))
    if folds < 2:
        return set()

    def rank(chosen: np.ndarray) -> tuple[int, int]:
        """Return how many strata this split and the later ones lack, and how far it is from the size."""
        rest = {(strata[i], groups[i]) for i in set(range(len(samples))).difference(chosen)}
        left = Counter(name for name, _ in rest)
        lacks = len(set(strata).difference(strata[i] for i in chosen))
        return lacks + sum(max(0, spare - left[name]) for name in set(strata)), abs(len(chosen) - size)

    tried: list[np.ndarray] = []
    for shuffle in range(SHUFFLES):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**31 + shuffle)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About strata of fewer images than folds.
            tried += [chosen for _, chosen in splitter.split(strata, strata, groups)]
    return {samples[i].path for i in min(tried, key=rank)}


def check_splits(samples: dict[str, list[Sample]], task: Task, source: str) -> None:
    """Raise a UserError where the splits cannot be trained on and evaluated; warn where they share groups.

    `task` is fitted to the training targets; `source` is the setting that gave the samples.
    """
    if task.has_classes and len(task.columns) < 2:
        only = ", ".join(task.columns)
        raise UserError(f"{source} has one class only in train ({only}): add images of another class.")
    for split in ("val", "test"):
        unknown = task.unknown([sample.target for sample in samples[split]])
        if unknown:
            raise UserError(
                f"{source}: {split} has classes that train lacks ({', '.join(unknown[:10])}): "
                f"put some of their images into train, or take them out of {split}."
            )
    warn_of_shared_groups(samples)


def warn_of_shared_groups(samples: dict[str, list[Sample]]) -> None:
    """Warn where images of one group are in several splits, as splits that are given may have them."""
    held: dict[str, list[str]] = defaultdict(list)
    for split, of_split in samples.items():
        for group in sorted({sample.group for sample in of_split} - {""}):
            held[group].append(split)
    shared = [f"{group} in {' and '.join(splits)}" for group, splits in held.items() if len(splits) > 1]
    if shared:
        log.warning(
            "LEAK       %d of %d groups are in several splits (%s): the test is too easy; leave the given "
            "splits out to keep groups together.",
            len(shared),
            len(held),
            shared[0],
        )


def refuse_empty_splits(samples: dict[str, list[Sample]], source: str) -> None:
    empty = [split for split, held in samples.items() if not held]
    if empty:
        raise UserError(f"{source} has no images in {', '.join(empty)}: put some of every class there.")


def limit_splits(
    samples: Sequence[Sample], limit: int, seed: int, needs_every_stratum: bool = True
) -> list[Sample]:
    """Return at most `limit` samples of each split, seeded and stratified.

    Raises UserError where the limit is smaller than the number of strata; if not every stratum is needed,
    they are left out then.
    """
    strata = {sample.stratum for sample in samples}
    fits = limit >= len(strata)
    if not fits and needs_every_stratum:
        raise UserError(f"data.limit={limit} is less than the {len(strata)} classes; make it larger.")
    kept: list[Sample] = []
    for split in SPLITS:
        held = [sample for sample in samples if sample.split == split]
        if len(held) > limit:
            alone = [replace(s, group="", stratum=s.stratum if fits else "") for s in held]
            chosen = draw(alone, limit, random.Random(seed), spare=0)
            held = [sample for sample in held if sample.path in chosen]
        kept += held
    return kept
