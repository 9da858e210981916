"""What the config folder offers, and a person's words for what Hydra says when an override does not fit."""

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from graft.errors import UserError, suggestion

# Entries that are not read as settings: Hydra's own words, and the callables that a group file names.
MAY_BE_SHARES = ("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches")
RESERVED = ("defaults", "hydra", "_target_", "_partial_")


def group_choices(config_dir: Path) -> dict[str, list[str]]:
    """Return the file names, without ending, of every config group."""
    groups = sorted(folder for folder in config_dir.iterdir() if folder.is_dir())
    return {g.name: sorted(file.stem for file in g.glob("*.yaml")) for g in groups}


def known_keys(config_dir: Path) -> set[str]:
    """Return every key that some file of the config folder has, dotted: `trainer.max_epochs`."""
    return {*group_choices(config_dir), *(key for key, _ in default_values(config_dir))}


@cache
def default_values(config_dir: Path) -> tuple[tuple[str, object], ...]:
    """Return the dotted keys of all config files with their values."""
    found: list[tuple[str, object]] = []
    for file in sorted(config_dir.rglob("*.yaml")):
        is_global = "_global_" in file.read_text().split("\n", 1)[0]
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


def refuse_unknown_keys(config: DictConfig, config_dir: Path) -> None:
    """Raise a UserError for an entry that nothing reads, as `+loss.foo=1` would add it.

    Below an entry with `_target_`, its arguments decide: `refuse_unknown_arguments`.
    """
    known = known_keys(config_dir)
    free = {key for key, value in default_values(config_dir) if value == {}}
    for key in unread_entries(config, [], known, free):
        raise UserError(f"nothing reads the setting '{key}'.{nearest_key(key, known)}")


def unread_entries(node: DictConfig, parents: list[str], known: set[str], free: set[str]) -> Iterator[str]:
    """Yield the dotted entries below `node` that are not known, except those of targets and free ones."""
    for name in map(str, node):
        key = ".".join([*parents, name])
        child = None if OmegaConf.is_missing(node, name) else node[name]
        if (isinstance(child, DictConfig) and "_target_" in child) or key in free:
            continue
        if key not in known:
            yield key
        if isinstance(child, DictConfig):
            yield from unread_entries(child, [*parents, name], known, free)


def refuse_unknown_arguments(config: DictConfig) -> None:
    """Raise a UserError for an entry that the class it is meant for does not take.

    Hydra would say so as well, but late, in many lines, and without the nearest.
    """
    for key, entry in targets(config, []):
        parameters = named_parameters(get_object(entry["_target_"]))
        if parameters is None:
            continue
        for name in map(str, entry):
            if name not in (*parameters, *RESERVED, "_convert_"):
                hint = suggestion(name, parameters)
                raise UserError(f"{key}.{name} is not taken by {entry['_target_']}.{hint}")


def named_parameters(target: Callable[..., object]) -> list[str] | None:
    """Return the names that a class or function takes, None where it takes any.

    A class that hands `**settings` on to its base takes what its base does.
    """
    names: list[str] = []
    for taker in inspect.getmro(target) if inspect.isclass(target) else (target,):
        if taker is object or (inspect.isclass(taker) and "__init__" not in vars(taker)):
            continue
        try:
            parameters = inspect.signature(taker).parameters.values()
        except ValueError:
            return None  # Some of Python's own classes do not say what they take.
        names += [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            return names
    return None


def refuse_wrong_kinds(config: DictConfig, config_dir: Path) -> None:
    """Raise a UserError for text where the config files have a number, and for no truth value at a switch."""
    defaults: dict[str, list[object]] = {}
    for key, default in default_values(config_dir):
        defaults.setdefault(key, []).append(default)
    for key, found in defaults.items():
        value = OmegaConf.select(config, key)
        kinds = {type(default) for default in found}
        if kinds == {dict} and not isinstance(value, DictConfig) and key in config:
            raise UserError(f"{key}={value}: it holds settings of its own; write {key}.NAME=VALUE.")
        if kinds == {bool} and key != "freeze" and not isinstance(value, bool | None):
            raise UserError(f"{key}={value}: write true or false.")
        parent, _, name = key.rpartition(".")
        holder = OmegaConf.select(config, parent) if parent else config
        is_there = isinstance(holder, DictConfig) and name in holder
        if kinds <= {int, float} and (isinstance(value, str) or (value is None and is_there)):
            raise UserError(f"{key}={value}: a number is expected, such as {found[0]}.")
        if kinds == {int} and key not in MAY_BE_SHARES and isinstance(value, float):
            raise UserError(f"{key}={value}: a whole number is expected, such as {found[0]}.")


def with_learning_rate(config: DictConfig) -> DictConfig:
    """Return the settings with a number that `learning_rate` gives as `optimizer.lr`.

    Raises UserError for a value that is neither null nor auto nor a number above 0.
    """
    rate = config.learning_rate
    if rate is None or rate == "auto":
        return config
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise UserError(f"learning_rate={rate}: write auto, a number above 0, or null for optimizer.lr.")
    config = config.copy()
    config.optimizer.lr = float(rate)
    return config


def targets(node: DictConfig, parents: list[str]) -> Iterator[tuple[str, DictConfig]]:
    """Yield every entry below `node` that names a class or function, with its dotted key."""
    for name in map(str, node):
        child = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(child, DictConfig):
            if "_target_" in child:
                yield ".".join([*parents, name]), child
            yield from targets(child, [*parents, name])


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
        return UserError(f"cannot read '{error.override}': {text.splitlines()[0]}. {QUOTING}")
    if isinstance(error, MissingMandatoryValue):
        return missing_value(text)
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        found = re.search(r"full_key: (\S+)", text) or re.search(r"target '([^']+)'", text)
        return UserError(f"{found.group(1) if found else 'a setting'} does not fit: {error.__cause__}")
    if isinstance(error, OSError):
        return UserError(f"cannot write the run's folder: {error}. Choose one with hydra.run.dir=DIR.")
    if override := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(override.group(1), config_dir)
    return UserError(text.splitlines()[0])


QUOTING = "Quote a value that holds spaces, commas or brackets: 'data.root=\"my, pictures\"'."


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
