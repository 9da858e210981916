"""One step over a command's arguments before any parser reads them: order, form, and paths."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from graft.errors import UserError

TAKES_VALUE = (
    *("-c", "--cfg", "-p", "--package", "-cn", "--config-name", "-cp", "--config-path"),
    *("-cd", "--config-dir", "--info", "--experimental-rerun"),
)
ALONE = (
    *("-m", "--multirun", "-r", "--run", "--resolve", "-sc", "--shell-completion"),
    *("-h", "--help", "--hydra-help", "--version"),
)
# Settings whose value is one piece of text, whatever characters it has.
TEXTS = (
    *("data.root", "data.splits", "cache.dir", "model.weights", "model.name", "resume"),
    *("hydra.run.dir", "hydra.sweep.dir", "paths.logs", "paths.data", "paths.run", "paths.root"),
)
PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.\-]*")
SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort)\(")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of the command with their values, and all other words, each in their order."""
    flags: list[str] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name = word.split("=", 1)[0]
        if word in ALONE or name.startswith("--hydra-") or (name in TAKES_VALUE and name != word):
            flags.append(word)
        elif word in TAKES_VALUE:
            flags += [word, *rest[:1]]
            del rest[:1]
        else:
            words.append(word)
    return flags, words


def refuse_other_forms(
    words: Sequence[str], translate: Callable[[str], str | None], bare: Callable[[str], str] | None = None
) -> list[str]:
    """Return the words that are settings; raise a UserError that has the right form of all others.

    `translate` gives what to write instead of a setting that has another name here. `bare` makes a setting
    of a word that stands alone; without it, words without `=` are left to the caller.
    """
    settings: list[str] = []
    mended: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        typed, right = take_setting(rest, bare)
        del rest[: len(typed)]
        right = translate(right) or right
        settings.append(right)
        if [right] != typed:
            mended.append((right, " ".join(typed)))
    if mended:
        advice = "; ".join(f"write {right} instead of {typed!r}" for right, typed in mended)
        dashes = "settings have no dashes: " if any(typed.startswith("-") for _, typed in mended) else ""
        raise UserError(f"{dashes}{advice} (--help shows all).")
    return settings


def take_setting(rest: Sequence[str], bare: Callable[[str], str] | None) -> tuple[list[str], str]:
    """Return the words at the beginning that are one setting, and its right form."""
    word, following = rest[0], rest[1] if len(rest) > 1 else None
    lone = following is not None and "=" not in following and not following.startswith("-")
    key, equals, value = word.partition("=")
    if word.startswith("-"):
        key = key.lstrip("-").replace("-", "_")
        if equals or not lone:
            return [word], f"{key}={value or 'VALUE'}"
        return list(rest[:2]), f"{key}={following}"
    if following == "=" and not equals:
        return list(rest[:3]), f"{word}={rest[2] if len(rest) > 2 else 'VALUE'}"
    if following is not None and following.startswith("=") and not equals:
        return list(rest[:2]), word + following
    if equals and not value and lone:
        return list(rest[:2]), f"{word}{following}"
    if equals and value.endswith(",") and not Path(value).exists():
        return (list(rest[:2]), f"{word}{following}") if lone else ([word], word.rstrip(","))
    if not equals and bare is not None and not word.startswith("~"):
        is_key = re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", word) and not Path(word).exists()
        return (list(rest[:2]), f"{word}={following}") if lone and is_key else ([word], bare(word))
    return [word], word


def value_of(settings: Sequence[str], key: str) -> str | None:
    """Return the value that a setting is given last, without quotes; None where it is not given."""
    given = [setting.partition("=")[2] for setting in settings if setting.partition("=")[0] == key]
    return unquoted(given[-1]) if given else None


def unquoted(value: str) -> str:
    """Return what Hydra reads from a value in quotes; any other value as it is."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return re.sub(r"\\([\\'\"])", r"\1", value[1:-1])
    return value


def quoted_texts(settings: Sequence[str], sweeps: bool) -> list[str]:
    """Return the settings with paths and other free text quoted for Hydra where it has to be.

    In a sweep a list separated by commas stays one, unless a file or folder has the whole as its name.
    """
    done = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if key.lstrip("+") not in TEXTS or SWEEP_FUNCTION.match(value):
            done.append(setting)
        elif sweeps and "," in value and value[0] not in "'\"" and not Path(value).expanduser().exists():
            done.append(f"{key}={','.join(map(quoted, value.split(',')))}")
        else:
            done.append(f"{key}={quoted(value)}")
    return done


def quoted(value: str) -> str:
    """Return a text as Hydra reads it back: `~` expanded, in quotes where it is more than a plain word."""
    if value in ("", "null", "true", "false", "???") or value[0] in "'\"" or "${" in value:
        return value
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    if PLAIN.fullmatch(value) and not is_number(value):
        return value
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def is_number(value: str) -> bool:
    """Return whether Hydra would read the word as a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True
