"""The base of all declared settings: strict types, no unknown keys, and the types that several rooms share.

A room declares what it reads in its `settings.py`, with a field per key: type, range and choices. The YAML
files have the defaults and the comments. `graft.cli.checking` turns a value that does not fit into one line.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST = 2**31 - 1  # Larger whole numbers do not fit into what torch and PIL count with.


@dataclass(frozen=True)
class Words:
    """What a setting expects, in a person's words, where the type alone does not say it well."""

    text: str


Target = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"),
    Words("the path of a class or function, such as torch.optim.AdamW"),
]


def as_path(value: Any) -> str:
    """Return a path as it is: its bytes may be no UTF-8, which pydantic's own text refuses."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


class Settings(BaseModel):
    """Declared settings. `1`, `1.0`, `true` and `"1"` are different values."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class TargetSettings(Settings):
    """An entry from which Hydra builds a class, or calls a function."""

    target: Target = Field(alias="_target_")
    partial: Literal[False] = Field(False, alias="_partial_")
    convert: Literal["none", "partial", "object", "all"] = Field("none", alias="_convert_")
    recursive: bool = Field(True, alias="_recursive_")
    args: list[Any] = Field([], alias="_args_")


class OwnTargetSettings(TargetSettings):
    """A class that is not declared, such as a person's own; its signature says what it takes."""

    model_config = ConfigDict(extra="allow")


class PartialSettings(TargetSettings):
    """An entry for a class or function that the run calls later, with arguments of its own besides."""

    partial: Literal[True] = Field(alias="_partial_")  # type: ignore[assignment]


class OwnPartialSettings(PartialSettings):
    """The same for a class or function that is not declared."""

    model_config = ConfigDict(extra="allow")


Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
PositiveNumber = Annotated[float, Field(gt=0)]
NumberOrZero = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
PathText = Annotated[Any, AfterValidator(as_path), Words("a path")]
