"""Checks arguments that are not declared against the signature of the class or function that they are for."""

import importlib.util
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from pydantic import create_model

from graft.cli.checking import fields_of, nested_model, validated
from graft.errors import UserError, suggestion
from graft.settings import OwnPartialSettings, OwnTargetSettings, Settings, TargetSettings
from graft.training.settings import OptimizerSettings

UNDECLARED = (None, OwnTargetSettings, OwnPartialSettings, OptimizerSettings)
SCALARS = (bool, int, float, str, type(None))


def check_targets(declared: type[Settings], values: Mapping[str, Any]) -> None:
    """Raise a UserError for a class that is not there, or an argument that it does not take.

    Only what is not declared is looked at; classes are imported for that, after all other checks.
    """
    undeclared = list(undeclared_arguments(declared, values, ""))
    for key, entry, _ in undeclared:
        package = entry["_target_"].partition(".")[0]
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{key}_target_={entry['_target_']}: there is no package {package}.")
    for key, entry, names in undeclared:
        check_arguments(key, entry, names)


def undeclared_arguments(
    declared: type[Any] | None, values: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Mapping[str, Any], list[str]]]:
    """Yield the prefix, the entry and the undeclared names of every `_target_` that is not fully declared."""
    fields = fields_of(declared) if declared else {}
    if isinstance(values.get("_target_"), str):
        names = [name for name in values if name not in {*fields, *fields_of(TargetSettings)}]
        if names or declared in UNDECLARED:
            yield prefix, values, names
    for name, value in values.items():
        if isinstance(value, Mapping):
            inside = nested_model(fields[name].annotation) if name in fields else None
            if inside or name not in fields:
                yield from undeclared_arguments(inside, value, f"{prefix}{name}.")


def check_arguments(prefix: str, entry: Mapping[str, Any], names: list[str]) -> None:
    """Raise a UserError where the entry's target cannot be imported or does not take one of the names."""
    path = entry["_target_"]
    try:
        target = get_object(path)
    except Exception as error:  # Importing runs a person's own module, which may raise anything.
        cause = error.__cause__ or error
        raise UserError(f"{prefix}_target_={path} cannot be imported: {one_line(cause)}.") from error
    if not callable(target):
        raise UserError(f"{prefix}_target_={path} is neither a class nor a function.")
    parameters = named_parameters(target)
    if parameters is None:
        return
    for name in names:
        if name not in parameters:
            hint = suggestion(name, parameters)
            raise UserError(f"{prefix}{name} is not taken by {path}.{hint}")
    types_of = {name: scalar_type(parameters[name]) for name in names if not holds_target(entry[name])}
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in types_of.items() if kind is not None}
    arguments = create_model("Arguments", __base__=Settings, **fields)
    validated(arguments, {name: entry[name] for name in fields}, prefix)


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its name."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def holds_target(value: object) -> bool:
    """Return whether Hydra builds an object from the value, or from a part of it."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(holds_target, value.values()))
    return isinstance(value, list) and any(map(holds_target, value))


def named_parameters(target: Callable[..., object]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters that a class or function takes by name, None where it takes any.

    A class that hands `**settings` on to its base takes what its base does.
    """
    found: dict[str, inspect.Parameter] = {}
    for taker in inspect.getmro(target) if inspect.isclass(target) else (target,):
        if taker is object or (inspect.isclass(taker) and "__init__" not in vars(taker)):
            continue
        try:
            parameters = inspect.signature(taker).parameters
            hints = get_type_hints(taker.__init__ if inspect.isclass(taker) else taker)
        except (ValueError, TypeError):
            return None  # Some of Python's own classes do not say what they take.
        except NameError:  # An annotation that is imported for type checkers only.
            hints = {}
        for name, parameter in parameters.items():
            if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
                annotation = hints.get(name, inspect.Parameter.empty)
                found.setdefault(name, parameter.replace(annotation=annotation))
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            return found
    return None


def scalar_type(parameter: inspect.Parameter) -> Any:
    """Return the numbers, words and switches that a parameter takes, None where that is not all it takes."""
    kinds = [*members(parameter.annotation), *([type(None)] if parameter.default is None else [])]
    if any(
        get_origin(kind) not in (None, Literal) or kind in (list, tuple, dict, set, Any) for kind in kinds
    ):
        return None
    scalars = [kind for kind in kinds if kind in SCALARS or get_origin(kind) is Literal]
    return Union[tuple(scalars)] if scalars and set(scalars) != {type(None)} else None  # noqa: UP007


def members(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in members(part)]
    return [annotation]
