"""Reads the `key=value` settings of the scripts, which each declares as a pydantic model."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from graft.cli.arguments import refuse_other_forms
from graft.cli.checking import alternatives, fields_of, shown, validated
from graft.cli.command import checkpoint_of
from graft.cli.process import exit_code
from graft.errors import UserError, suggestion
from graft.settings import CountOrZero, Settings, Text, Words


def as_checkpoint(text: str) -> Path:
    """Return the path; a run's folder means its best checkpoint."""
    file = Path(text).expanduser()
    if not file.exists():
        beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        raise UserError(f"there is no checkpoint {file}.{suggestion(file.name, beside)}")
    return checkpoint_of(file, "best") if file.is_dir() else file


def as_names(text: str) -> list[str]:
    try:
        names: list[str] = yaml.load(text if text.startswith("[") else f"[{text}]", yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError from error
    return names


def as_indices(text: str) -> list[int]:
    return [int(name) for name in as_names(text)]


File = Annotated[Path, BeforeValidator(lambda text: Path(text).expanduser()), Words("a path")]
Checkpoint = Annotated[Path, BeforeValidator(as_checkpoint), Words("a path")]
Names = Annotated[list[Text], BeforeValidator(as_names), Words("names such as [a,b]")]
Indices = Annotated[list[CountOrZero], BeforeValidator(as_indices), Words("numbers such as [0,1,2]")]


def read_settings(arguments: Sequence[str], declared: type[Settings], names: Sequence[str]) -> dict[str, Any]:
    """Return the value of every declared setting by its key, given or by default; raise UserError else."""
    fields = fields_of(declared)
    arguments = refuse_other_forms(arguments)
    free = [name for name in names if not any(argument.startswith(f"{name}=") for argument in arguments)]
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or Path(argument).exists():  # A path may hold a `=`.
            if not free:  # It may be a mistyped setting.
                raise UserError(f"'{argument}' has no name: write SETTING={argument} (--help shows all).")
            key, text = free.pop(0), argument
        if not text:
            raise UserError(f"{key} has no value: write {key}=VALUE.")
        if key in given:
            raise UserError(f"{key} is given twice.")
        given[key] = value_of(text, fields[key]) if key in fields else text
    return validated(declared, given).model_dump(by_alias=True)


def value_of(text: str, field: FieldInfo) -> Any:
    """Return the number, switch or null that the text means where the setting takes one, else the text."""
    kinds = {kind for kind, _ in alternatives(field.annotation, tuple(field.metadata))}
    with contextlib.suppress(yaml.YAMLError):
        return yaml.safe_load(text) if {int, float, bool} & kinds else text
    return text


def run_script(
    arguments: Sequence[str],
    documentation: str,
    declared: type[Settings],
    work: Callable[[dict[str, Any]], int],
    names: Sequence[str] = (),
) -> int:
    """Do a script's work with its settings and return the exit code; `names`: of words without `=`."""

    def run() -> int:
        if not {"-h", "--help"} & set(arguments):
            return work(read_settings(arguments, declared, names))
        fields = fields_of(declared)
        width = max(map(len, fields))
        sys.stdout.write(f"{documentation.strip()}\n\nsettings, as key=value:\n")
        for key, field in fields.items():
            default = "needed" if field.is_required() else field.default
            hint = "" if default is None else f" ({shown(default)})"
            sys.stdout.write(f"  {key:<{width}}  {field.description}{hint}\n")
        return 0

    return exit_code(run)
