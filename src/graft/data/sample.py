"""One labelled image of a data set."""

from dataclasses import dataclass

from graft.tasks import Target

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image."""

    path: str  # relative to the data set's folder, with slashes
    target: Target
    split: str | None = None  # train, val or test; None where it is still to be made
    group: str = ""  # images of the same group stay in one split, where it is not empty
    weight: float = 1.0  # how often it is drawn in training, relative to the others
    stratum: str = ""  # of the target, see `Task.strata`: every split gets its share of each
    stratify_value: str = ""  # of data.stratify_by, likewise
    digest: str = ""  # a hash of the file's bytes
