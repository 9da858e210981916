"""What the page says about the images: how many, what they look like, which are there twice."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from graft.data.folder import Sample
from graft.reporting.report.duplicates import find_duplicates
from graft.reporting.report.images import examples
from graft.reporting.report.page import Parts, count_groups


def data_parts(
    root: Path, splits: Mapping[str, Sequence[Sample]], class_names: Sequence[str], example_split: str
) -> Parts:
    """Return counts of every class and split, groups where there are some, examples, and equal files."""
    counters = [Counter(sample.class_name for sample in samples) for samples in splits.values()]
    groups = [count_groups(samples) for samples in splits.values()]
    return {
        "root": root,
        "splits": list(splits),
        "counts": [[name, *(counter[name] for counter in counters)] for name in class_names],
        "totals": [len(samples) for samples in splits.values()],
        "groups_of_splits": groups if any(groups) else [],
        "examples": examples(root, splits[example_split], class_names),
        "duplicates": find_duplicates(splits),
    }
