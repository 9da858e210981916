"""Checks values against declared settings; says in one line what does not fit and what to write instead."""

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from graft.errors import UserError, suggestion
from graft.settings import MOST, Words

Model = TypeVar("Model", bound=BaseModel)
LONGEST_VALUE = 60  # characters of a value that an error shows
BOUNDS = {"ge": " of {} or more", "gt": " above {}", "le": " of {} or less", "lt": " below {}"}


def validated(model: type[Model], values: Mapping[str, Any], prefix: str = "") -> Model:
    """Return the values as an instance of `model`; raise UserError with `prefix` before the key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = [(entry["type"], *declared_at(model, entry["loc"])) for entry in error.errors()]
    # An unknown key first: it may be a misspelt one. Then the outermost: others may refer to it.
    kind, names, field = min(errors, key=lambda entry: (entry[0] != "extra_forbidden", len(entry[1])))
    key = prefix + ".".join(names)
    is_group = field is not None and nested_model(field.annotation)
    if kind == "extra_forbidden":
        hint = nearest_key(key, [prefix + known for known in declared_keys(model)])
        raise UserError(f"unknown setting '{key}'.{hint}")
    if kind == "missing":
        form = f"NAME or {key}.NAME=VALUE" if is_group else f"VALUE, where VALUE is {expected(field)}"
        raise UserError(f"{key} is needed: write {key}={form}.")
    value: Any = reduce(lambda entry, name: entry[name], names, values)
    if is_group:
        raise UserError(f"{key}={shown(value)}: it holds settings of its own; write {key}.NAME=VALUE.")
    raise UserError(f"{key}={shown(value)}: write {expected(field, value)}.")


def declared_at(model: type[BaseModel], location: Sequence[Any]) -> tuple[list[str], FieldInfo | None]:
    """Return the names of `location` down to the deepest declared field or unknown key, and the field."""
    name = str(location[0])
    field = fields_of(model).get(name)
    inside = nested_model(field.annotation) if field else None
    if inside is None or len(location) == 1:  # pydantic goes on with parts of a list, or of alternatives.
        return [name], field
    names, field = declared_at(inside, location[1:])
    return [name, *names], field


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the declared fields by the name that a person writes: `_target_`, not `target`."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def declared_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in fields_of(model).items():
        yield prefix + name
        if nested := nested_model(field.annotation):
            yield from declared_keys(nested, f"{prefix}{name}.")


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """Return the declared settings that a field holds, None where it holds a value."""
    kinds = [kind for kind, _ in alternatives(annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` or nothing; the last part of a key counts most."""
    known = sorted(k for k in known if not k.endswith("_"))
    leaves = {k: k.rpartition(".")[2] for k in known}
    leaf = key.rpartition(".")[2]
    if same := [k for k in known if leaves[k] == leaf]:
        return f" Did you mean '{difflib.get_close_matches(key, same, 1, 0.0)[0]}'?"
    near = difflib.get_close_matches(leaf, leaves.values(), 1, 0.7)
    similar = [k for k in known if leaves[k] in near]
    return suggestion(key, known) or (f" Did you mean '{similar[0]}'?" if similar else "")


def shown(value: object) -> str:
    """Return a value as a person writes it on the command line, cut off where it is long."""
    text = str(value)
    if isinstance(value, list | tuple):
        text = f"[{','.join(map(shown, value))}]"
    elif isinstance(value, Mapping):
        text = "{" + ",".join(f"{key}:{shown(entry)}" for key, entry in value.items()) + "}"
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def expected(field: FieldInfo | None, value: object = None) -> str:
    """Return what a field takes instead of `value`, in words: `auto, or a whole number of 0 or more`."""
    if field is None:
        return "another value"
    words: list[str] = []
    for kind, metadata in alternatives(field.annotation, tuple(field.metadata)):
        words += [word for word in described(kind, metadata, value) if word not in words]
    # Single words first, then phrases; the exception comes last.
    *others, last = sorted(words, key=lambda word: 2 if word == "null" else int(" " in word))
    comma = "," if any(" " in word for word in words) else ""
    return f"{', '.join(others)}{comma} or {last}" if others else last


def alternatives(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield every type that an annotation allows, with its constraints and words."""
    if get_origin(annotation) is Annotated:
        kind, *more = get_args(annotation)
        flat = [m for entry in more for m in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
        yield from alternatives(kind, (*metadata, *flat))
    elif get_origin(annotation) not in (Union, types.UnionType):
        yield annotation, metadata
    elif any(isinstance(m, Words) for m in metadata):  # The words are about all alternatives together.
        yield str, metadata
    else:
        for kind in get_args(annotation):
            yield from alternatives(kind, metadata)


def described(kind: Any, metadata: tuple[Any, ...], value: object) -> list[str]:
    """Return what one type takes: the words to choose from, or one phrase."""
    origin = get_origin(kind) or kind
    if words := [entry.text for entry in metadata if isinstance(entry, Words)]:
        return words[:1]
    if origin is Literal:
        return list(map(shown, get_args(kind)))
    if origin in (int, float):
        return [("a whole number" if origin is int else "a number") + range_of(metadata, value)]
    if origin is list:
        return [f"a list such as [a,b], each {expected(FieldInfo(annotation=get_args(kind)[0]))}"]
    if origin is str and isinstance(value, int | float):
        return ["text (a number as text: \"'1'\")"]
    known = {bool: ["true", "false"], type(None): ["null"], str: ["text"], dict: ["settings as {NAME:VALUE}"]}
    return known.get(origin, [f"a {getattr(kind, '__name__', kind)}".lower()])


def range_of(metadata: tuple[Any, ...], value: object) -> str:
    """Return a number's bounds: ` of 1 or more`, ` between 0 and 1, 1 excluded`."""
    bounds = {name: getattr(entry, name) for entry in metadata for name in BOUNDS if hasattr(entry, name)}
    # A bound that is there for technical reasons is named where it was exceeded.
    if bounds.get("le") == MOST and not (isinstance(value, int) and value > MOST):
        del bounds["le"]
    if len(bounds) < 2:
        return "".join(BOUNDS[name].format(bound) for name, bound in bounds.items())
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    excluded = [str(bounds[name]) for name in ("gt", "lt") if name in bounds]
    return f" between {low} and {high}" + (f", {' and '.join(excluded)} excluded" if excluded else "")
