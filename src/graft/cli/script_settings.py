"""Reads the `key=value` settings of the scripts, and ends them with one line where something is wrong."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.cli.arguments import refuse_other_forms
from graft.cli.process import exit_code
from graft.cli.shortcuts import checkpoint_of
from graft.errors import UserError, suggestion

# Turns the text after `=` into a value; raises ValueError that says what is expected.
Kind = Callable[[str], Any]


@dataclass(frozen=True)
class Setting:
    """A setting of a script; one without a default is needed."""

    kind: Kind
    meaning: str
    default: Any = None
    is_needed: bool = False


def whole_number(least: int) -> Kind:
    """Return the kind of whole numbers of at least `least`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise ValueError(f"a whole number of {least} or more")
        return int(text)

    return read


def share(text: str) -> float:
    """Read a number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("a number between 0 and 1")
    return value


def boolean(text: str) -> bool:
    """Read true or false."""
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def one_of(*choices: str) -> Kind:
    """Return the kind of the named choices."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return read


def path(text: str) -> Path:
    """Read a path; `~` is the home folder."""
    return Path(text).expanduser()


def checkpoint(text: str) -> Path:
    """Read a path; a run's folder means its best checkpoint."""
    file = path(text)
    return checkpoint_of(file, "best") if file.is_dir() else file


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
    arguments: Sequence[str], known: Mapping[str, Setting], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the value of every known setting, given as key=value or by default.

    Words without `=` are the values of `names`, such as checkpoint and input.
    Raises UserError for one that is unknown, given twice, empty, of another kind, or needed and missing.
    """
    given: dict[str, Any] = {}
    settings = refuse_other_forms(arguments, lambda _: None)
    for argument in with_names(settings, names):
        key, equals, text = argument.partition("=")
        if key not in known:
            hint = suggestion(key, known)
            raise UserError(f"there is no setting '{key}'.{hint} Settings: {', '.join(known)}.")
        if not equals or not text:
            raise UserError(f"{key} has no value: write {key}=VALUE.")
        if key in given:
            raise UserError(f"{key} is given twice.")
        try:
            given[key] = known[key].kind(text)
        except ValueError as error:
            raise UserError(f"{key}={text}: {error} is expected.") from error
    for key, setting in known.items():
        if setting.is_needed and key not in given:
            raise UserError(f"{key} is needed: write {key}=VALUE ({setting.meaning}).")
    return {key: setting.default for key, setting in known.items()} | given


def settings_page(documentation: str, known: Mapping[str, Setting]) -> str:
    """Return the help page: what the script does, and every setting with its meaning."""
    width = max(map(len, known))
    lines = [documentation.strip(), "", "settings, as key=value:"]
    for key, setting in known.items():
        default = " (needed)" if setting.is_needed else ""
        if setting.default is not None:
            default = f" ({str(setting.default).lower() if setting.kind is boolean else setting.default})"
        lines.append(f"  {key:<{width}}  {setting.meaning}{default}")
    return "\n".join(lines) + "\n"


def run_script(
    arguments: Sequence[str],
    documentation: str,
    known: Mapping[str, Setting],
    work: Callable[[dict[str, Any]], int],
    names: Sequence[str] = (),
) -> int:
    """Do the script's work with the settings that the arguments give and return the exit code.

    `names` are the settings that words without `=` are for, in their order.
    """

    def run() -> int:
        if {"-h", "--help"} & set(arguments):
            sys.stdout.write(settings_page(documentation, known))
            return 0
        return work(read_settings(arguments, known, names))

    return exit_code(run)
