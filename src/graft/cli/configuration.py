"""Refuses settings that nothing reads, that a class does not take, or that are of another kind."""

import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from graft.cli.hydra_errors import RESERVED, default_values, known_keys, nearest_key
from graft.errors import UserError, suggestion

MAY_BE_SHARES = ("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches")


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
