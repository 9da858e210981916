"""What the page says about the images: how many, what they look like, which are there twice."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graft.data.sample import Sample
from graft.preprocessing import Preprocessing
from graft.reporting.report.images import examples
from graft.reporting.report.tested import Parts, count_groups
from graft.tasks.task import Task


@dataclass(frozen=True)
class Duplicates:
    """Groups of paths whose files are equal byte for byte; a group may be in all three."""

    inside: list[list[str]]  # at least two in one split: one image counts twice
    leaking: list[list[str]]  # in more than one split: the test has seen its answers
    contradictory: list[list[str]]  # with different targets: one at least is wrong

    @property
    def is_none(self) -> bool:
        return not (self.inside or self.leaking or self.contradictory)


def data_parts(
    root: Path,
    splits: Mapping[str, Sequence[Sample]],
    task: Task,
    preprocessing: Preprocessing,
    example_split: str,
    bands: Sequence[int] = (0, 1, 2),
) -> Parts:
    """Return counts or ranges of every column and split, groups, examples and equal files."""
    groups = [count_groups(samples) for samples in splits.values()]
    return {
        "root": root,
        "splits": list(splits),
        "counts": [[name, *cells] for name, cells in zip(task.columns, cells_of(splits, task), strict=True)],
        "totals": [len(samples) for samples in splits.values()],
        "groups_of_splits": groups if any(groups) else [],
        "examples": examples(root, splits[example_split], task, preprocessing, bands),
        "duplicates": find_duplicates(splits),
    }


def cells_of(splits: Mapping[str, Sequence[Sample]], task: Task) -> list[list[int | str]]:
    """Return for each column and split the images with the class or label, or the range of the numbers."""
    if "numbers" not in task.sections:
        counters = [Counter(name for s in samples for name in s.target) for samples in splits.values()]
        return [[counter[name] for counter in counters] for name in task.columns]
    numbers = [[tuple(map(float, s.target)) for s in samples] for samples in splits.values()]
    columns = [list(zip(*rows, strict=True)) for rows in numbers]
    return [[f"{min(c[i]):g} to {max(c[i]):g}" for c in columns] for i in range(len(task.columns))]


def find_duplicates(splits: Mapping[str, Sequence[Sample]]) -> Duplicates:
    """Return the groups of equal files among the samples of all splits, by their digests."""
    groups: dict[str, list[tuple[str, Sample]]] = defaultdict(list)
    for split, samples in splits.items():
        for sample in samples:
            if sample.digest:
                groups[sample.digest].append((split, sample))
    found = Duplicates([], [], [])
    for group in groups.values():
        paths = [sample.path for _, sample in group]
        held_by = {split for split, _ in group}
        if len(held_by) < len(group):
            found.inside.append(paths)
        if len(held_by) > 1:
            found.leaking.append(paths)
        if len({sample.target for _, sample in group}) > 1:
            found.contradictory.append(paths)
    return found
