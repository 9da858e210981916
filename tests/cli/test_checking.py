"""A value that does not fit is told in one line: the key, the value, and what to write instead."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from graft.cli.checking import validated
from graft.errors import UserError
from graft.settings import Count, InnerShare, PathText, Settings, Share, ShareBelowOne, Text, Words


class Inner(Settings):
    mixup: Share = 0.0


class Outer(Settings):
    size: Count | None = None
    rate: Annotated[float, Field(gt=0)] = 1.0
    dropout: ShareBelowOne = 0.0
    decay: InnerShare = 0.5
    is_on: bool = True
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    cache: bool | Literal["auto"] = "auto"
    kind: Literal["a", "b", "c"] | None = None
    betas: Annotated[list[float], Field(min_length=2, max_length=2), Words("two numbers")] = Field([0.9, 0.9])
    names: list[Text] = Field([])
    folder: PathText = "."
    loss: Inner = Inner()


class Needed(Settings):
    folder: PathText


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("size", 32.5, "size=32.5: write a whole number of 1 or more, or null."),
        ("size", True, "size=true: write a whole number of 1 or more, or null."),
        ("size", 0, "size=0: write a whole number of 1 or more, or null."),
        ("size", 99999999999, "size=99999999999: write a whole number between 1 and 2147483647, or null."),
        ("rate", 0, "rate=0: write a number above 0."),
        ("rate", float("nan"), "rate=nan: write a number above 0."),
        ("rate", "1", "rate=1: write a number above 0."),
        ("dropout", 1, "dropout=1: write a number between 0 and 1, 1 excluded."),
        ("decay", 0, "decay=0: write a number between 0 and 1, 0 and 1 excluded."),
        ("is_on", 1, "is_on=1: write true or false."),
        ("is_on", None, "is_on=null: write true or false."),
        ("workers", -1, "workers=-1: write auto, or a whole number of 0 or more."),
        ("cache", 0, "cache=0: write true, false or auto."),
        ("cache", 1, "cache=1: write true, false or auto."),
        ("kind", "d", "kind=d: write a, b, c or null."),
        ("betas", [0.9], "betas=[0.9]: write two numbers."),
        ("betas", ["a", 1], "betas=[a,1]: write two numbers."),
        ("names", [1], "names=[1]: write a list such as [a,b], each text."),
        ("folder", {}, "folder={}: write a path."),
        ("folder", "", "folder=: write a path."),
        ("loss", None, "loss=null: it holds settings of its own; write loss.NAME=VALUE."),
        ("loss", {"mixup": 2}, "loss.mixup=2: write a number between 0 and 1."),
        ("loss", {"mixupp": 2}, "unknown setting 'loss.mixupp'. Did you mean 'loss.mixup'?"),
        ("mixup", 1, "unknown setting 'mixup'. Did you mean 'loss.mixup'?"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(key: str, value: Any, line: str) -> None:
    with pytest.raises(UserError) as error:
        validated(Outer, {key: value})
    assert str(error.value) == line


def test_values_that_fit_become_the_declared_settings() -> None:
    found = validated(Outer, {"size": 3, "rate": 2, "workers": "auto", "loss": {"mixup": 0.2}})
    assert (found.size, found.rate, found.loss.mixup) == (3, 2.0, 0.2)


def test_a_missing_key_is_named_with_what_it_takes() -> None:
    with pytest.raises(UserError, match=r"^folder is needed: write folder=VALUE, where VALUE is a path\.$"):
        validated(Needed, {})


def test_a_misspelt_key_says_more_than_the_one_that_is_missing() -> None:
    with pytest.raises(UserError, match=r"'foldre'\. Did you mean 'folder'\?"):
        validated(Needed, {"foldre": "x"})


def test_the_prefix_goes_before_every_key() -> None:
    with pytest.raises(UserError, match=r"^data\.size=0: "):
        validated(Outer, {"size": 0}, prefix="data.")
    with pytest.raises(UserError, match=r"'data\.sise'\. Did you mean 'data\.size'\?"):
        validated(Outer, {"sise": 0}, prefix="data.")
