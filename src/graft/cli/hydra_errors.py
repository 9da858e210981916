"""A person's words for what Hydra says when an override does not fit; the keys that the config folder has."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from graft.cli.config_groups import group_choices
from graft.errors import UserError, suggestion

# Entries that are not read as settings: Hydra's own words, and the callables that a group file names.
RESERVED = ("defaults", "hydra", "_target_", "_partial_")
QUOTING = "Quote a value that holds commas, brackets or braces for the shell and for Hydra: \"KEY='a, b'\"."


def known_keys(config_dir: Path) -> set[str]:
    """Return every key that some file of the config folder has, dotted: `trainer.max_epochs`."""
    return {*group_choices(config_dir), *(key for key, _ in default_values(config_dir))}


@cache
def default_values(config_dir: Path) -> tuple[tuple[str, object], ...]:
    """Return the dotted keys of all config files with their values."""
    found: list[tuple[str, object]] = []
    for file in sorted(config_dir.rglob("*.yaml")):
        is_global = "_global_" in file.read_text(encoding="utf-8").split("\n", 1)[0]
        group = [] if is_global or file.parent == config_dir else [file.parent.name]
        found += dotted_entries(OmegaConf.to_container(OmegaConf.load(file)), group)
    return tuple(found)


def dotted_entries(node: object, parents: list[str]) -> Iterator[tuple[str, object]]:
    """Yield the dotted names of all entries below `node` with their values."""
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key not in RESERVED:
            yield ".".join([*parents, str(key)]), value
            yield from dotted_entries(value, [*parents, str(key)])


def nearest_key(key: str, known: set[str]) -> str:
    """Return a suggestion for a dotted key: by the whole of it, else by its last part alone."""
    same_leaf = sorted(k for k in known if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1])
    if same_leaf:
        near = difflib.get_close_matches(key, same_leaf, n=1, cutoff=0.0)
        return f" Did you mean '{near[0]}'?"
    return suggestion(key, known) or suggestion_by_leaf(key, known)


def suggestion_by_leaf(key: str, known: set[str]) -> str:
    """Return a suggestion for a key whose group was left out: `max_epoch` → `trainer.max_epochs`."""
    leaves = {k.rsplit(".", 1)[-1]: k for k in sorted(known)}
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], leaves, n=1, cutoff=0.7)
    return f" Did you mean '{leaves[near[0]]}'?" if near else ""


def explain(error: Exception, config_dir: Path) -> UserError:
    """Return the UserError that says in one line what is wrong with the overrides."""
    while not str(error) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = str(error) or type(error).__name__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return unknown_choice(error.missing_cfg_file, config_dir)
    if isinstance(error, OverrideParseException):
        return UserError(f"cannot read '{error.override}': it is no KEY=VALUE. {QUOTING}")
    if isinstance(error, MissingMandatoryValue):
        return missing_value(text)
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        found = re.search(r"full_key: (\S+)", text) or re.search(r"target '([^']+)'", text)
        return UserError(f"{found.group(1) if found else 'a setting'} does not fit: {error.__cause__}")
    if isinstance(error, OSError):
        return UserError(
            f"{error.filename or 'a file'} cannot be written or read ({error.strerror or error}): make room "
            "there, or choose another folder for the run with hydra.run.dir=DIR."
        )
    if override := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(override.group(1), config_dir)
    return UserError(text.splitlines()[0])


def unknown_choice(missing: str, config_dir: Path) -> UserError:
    """Name the choices of a group, the nearest first."""
    group, _, choice = missing.rpartition("/")
    choices = group_choices(config_dir).get(group)
    if choices is None:
        return UserError(f"there is no config file {missing}.yaml.")
    hint = suggestion(choice, choices)
    return UserError(f"{group}={choice} is no choice.{hint} Choices of {group}: {', '.join(choices)}.")


def unknown_key(key: str, config_dir: Path) -> UserError:
    """Name the key nearest to one that no config file has."""
    known = known_keys(config_dir)
    key = key.split("@", 1)[0]
    if key in group_choices(config_dir):
        return UserError(f"'{key}' is a group: write {key}=NAME with a file of configs/{key}/.")
    if key in known:
        return UserError(f"{key} has no such entry yet: write +{key}.NAME=VALUE to add one.")
    hint = nearest_key(key, known)
    return UserError(f"there is no setting '{key}'.{hint} (--help shows all.)")


def missing_value(text: str) -> UserError:
    """Say how to give a value that a config file leaves open (`???`)."""
    found = re.search(r"full_key: (\S+)", text) or re.search(r"[Mm]issing mandatory value: (\S+)", text)
    key = found.group(1) if found else "a setting"
    return UserError(f"{key} is needed: write {key}=VALUE.")
