# room: recipes
"""Images that a recipe cannot compare heads on are refused with the reason."""

from types import SimpleNamespace
from typing import Any

import pytest

from graft.data.sample import Sample
from graft.errors import UserError
from graft.recipes.checks import refuse_images
from tests.conftest import make_sample


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ([make_sample("1.jpg", "a"), make_sample("2.jpg", "b")], "no class has two of them"),
        (
            [make_sample(f"{name}{n}.jpg", name, group="lot 7") for name in "ab" for n in (1, 2)],
            r"all of them are in group lot 7 \(data\.keep_together or data\.group_column\)",
        ),
    ],
)
def test_images_of_which_none_can_be_held_out_are_refused(train: list[Sample], words: str) -> None:
    images: Any = SimpleNamespace(samples={"train": train})
    with pytest.raises(UserError, match=rf"recipe=auto .* but {words}; write head\.solver=lbfgs"):
        refuse_images({"data": {"balanced": False}}, images)
