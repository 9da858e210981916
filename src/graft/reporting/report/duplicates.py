"""Finds images whose files are the same, inside a split and in several."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graft.data.folder import Sample


@dataclass(frozen=True)
class Duplicates:
    """Groups of paths whose files are equal byte for byte; a group may be in all three."""

    inside: list[list[str]]  # at least two in one split: one image counts twice
    leaking: list[list[str]]  # in more than one split: the test has seen its answers
    contradictory: list[list[str]]  # of more than one class: one label at least is wrong

    @property
    def is_none(self) -> bool:
        """Whether every image is there once."""
        return not (self.inside or self.leaking or self.contradictory)


def find_duplicates(splits: Mapping[str, Sequence[Sample]]) -> Duplicates:
    """Return the groups of equal files among the samples of all splits, by their digests."""
    groups: dict[str, list[tuple[str, Sample]]] = defaultdict(list)
    for split, samples in splits.items():
        for sample in samples:
            if sample.digest:
                groups[sample.digest].append((split, sample))
    found = Duplicates([], [], [])
    for group in groups.values():
        if len(group) == 1:
            continue
        paths = [sample.path for _, sample in group]
        held_by = {split for split, _ in group}
        if len(held_by) < len(group):
            found.inside.append(paths)
        if len(held_by) > 1:
            found.leaking.append(paths)
        if len({sample.class_name for _, sample in group}) > 1:
            found.contradictory.append(paths)
    return found
