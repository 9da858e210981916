# room: reporting
"""Equal files are found, in one split and in several."""

from graft.data.sample import Sample
from graft.reporting.report.data import Duplicates, find_duplicates
from tests.conftest import make_sample


def samples(*names: str) -> list[Sample]:
    """Samples named class/digest+letter."""
    return [make_sample(name, name.split("/")[0], digest=name.split("/")[1][:1]) for name in names]


def test_none_are_found_where_there_are_none() -> None:
    assert find_duplicates({"train": samples("a/1", "a/2"), "test": samples("a/3")}).is_none


def test_equal_files_inside_a_split_and_across_splits_are_told_apart() -> None:
    found = find_duplicates({"train": samples("a/1", "a/1x", "a/2"), "test": samples("a/2y", "a/3", "b/3")})
    assert found == Duplicates(
        inside=[["a/1", "a/1x"], ["a/3", "b/3"]], leaking=[["a/2", "a/2y"]], contradictory=[["a/3", "b/3"]]
    )


def test_samples_without_a_digest_are_not_equal() -> None:
    assert find_duplicates({"train": [make_sample("a/1.jpg", "a"), make_sample("a/2.jpg", "a")]}).is_none
