"""The settings of a recipe, declared."""

from typing import Annotated, Literal

from pydantic import Field

from graft.settings import Words

Recipe = Literal["auto"] | None
TimeBudget = Annotated[
    str,
    Field(pattern=r"^(auto|\d+(\.\d+)?[smh])$"),
    Words("auto, or seconds, minutes or hours, such as 90s, 10m or 1h"),
]
