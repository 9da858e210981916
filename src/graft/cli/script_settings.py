"""Reads the `key=value` settings of the scripts, which each declares as a pydantic model."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

from graft.cli.arguments import refuse_other_forms
from graft.cli.checking import alternatives, fields_of, shown, validated
from graft.cli.process import exit_code
from graft.cli.shortcuts import checkpoint_of
from graft.errors import UserError
from graft.settings import Settings, Words


def as_file(text: str) -> Path:
    """Return the path; `~` is the home folder."""
    return Path(text).expanduser()


def as_checkpoint(text: str) -> Path:
    """Return the path; a run's folder means its best checkpoint."""
    file = as_file(text)
    return checkpoint_of(file, "best") if file.is_dir() else file


File = Annotated[Path, BeforeValidator(as_file), Words("a path")]
Checkpoint = Annotated[Path, BeforeValidator(as_checkpoint), Words("a path")]


def with_names(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the arguments with `NAME=` before words that stand alone, in the order of these names."""
    given = {argument.partition("=")[0] for argument in arguments if "=" in argument}
    free = [name for name in names if name not in given]
    named = []
    for argument in arguments:
        # A path may hold a `=`; a name that is not there may be a mistyped setting.
        if "=" in argument and not Path(argument).exists():
            named.append(argument)
        elif free:
            named.append(f"{free.pop(0)}={argument}")
        else:
            raise UserError(f"'{argument}' has no name: write SETTING={argument} (--help shows all).")
    return named


def read_settings(
    arguments: Sequence[str], declared: type[Settings], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the value of every declared setting by its key, given as key=value or by default.

    Words without `=` are the values of `names`, such as checkpoint and input. Raises UserError for one
    that is unknown, given twice, empty, of another kind, or needed and missing.
    """
    fields = fields_of(declared)
    given: dict[str, Any] = {}
    for argument in with_names(refuse_other_forms(arguments, lambda _: None), names):
        key, _, text = argument.partition("=")
        if not text:
            raise UserError(f"{key} has no value: write {key}=VALUE.")
        if key in given:
            raise UserError(f"{key} is given twice.")
        given[key] = value_of(text, fields[key].annotation, fields[key].metadata) if key in fields else text
    settings = validated(declared, given)
    return {field.alias or name: getattr(settings, name) for name, field in declared.model_fields.items()}


def value_of(text: str, annotation: Any, metadata: Sequence[Any]) -> Any:
    """Return the number, switch or null that the text means where the setting takes one, else the text."""
    kinds = [kind for kind, _ in alternatives(annotation, tuple(metadata))]
    if not {int, float, bool} & set(kinds):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def settings_page(documentation: str, declared: type[Settings]) -> str:
    """Return the help page: what the script does, and every setting with its meaning."""
    fields = fields_of(declared)
    width = max(map(len, fields))
    lines = [documentation.strip(), "", "settings, as key=value:"]
    for key, field in fields.items():
        default = " (needed)" if field.is_required() else ""
        if not field.is_required() and field.default is not None:
            default = f" ({shown(field.default)})"
        lines.append(f"  {key:<{width}}  {field.description}{default}")
    return "\n".join(lines) + "\n"


def run_script(
    arguments: Sequence[str],
    documentation: str,
    declared: type[Settings],
    work: Callable[[dict[str, Any]], int],
    names: Sequence[str] = (),
) -> int:
    """Do the script's work with the settings that the arguments give and return the exit code.

    `names` are the settings that words without `=` are for, in their order.
    """

    def run() -> int:
        if {"-h", "--help"} & set(arguments):
            sys.stdout.write(settings_page(documentation, declared))
            return 0
        return work(read_settings(arguments, declared, names))

    return exit_code(run)
