"""Checks values against declared settings, and says in one line of a person's words what does not fit."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from graft.errors import UserError, suggestion
from graft.settings import MOST, Words

Model = TypeVar("Model", bound=BaseModel)
LONGEST_VALUE = 60  # characters of a value that an error shows


def validated(model: type[Model], values: Mapping[str, Any], prefix: str = "") -> Model:
    """Return the values as an instance of `model`.

    `prefix` goes before the keys in an error: `data.` where `values` are those of `data`. Raises UserError,
    one line, for the first value that does not fit, an unknown key, or one that is missing.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)

        def order(entry: Any) -> tuple[bool, int]:
            """An unknown key first: it may be a misspelt one. Then the outermost: others may refer to it."""
            return entry["type"] != "extra_forbidden", len(declared_at(model, entry["loc"])[0])

        first = min(found, key=order)
        raise UserError(message(model, first["type"], first["loc"], values, prefix)) from None


def message(
    model: type[BaseModel], kind: str, location: tuple[int | str, ...], values: Mapping[str, Any], prefix: str
) -> str:
    """Return the line for pydantic's error `kind` at `location` of `values`."""
    names, field = declared_at(model, location)
    key = prefix + ".".join(names)
    if kind == "extra_forbidden":
        return f"nothing reads the setting '{key}'.{nearest(key, [prefix + k for k in declared_keys(model)])}"
    if kind == "missing":
        return f"{key} is needed: write {needed(key, field)}."
    value: Any = values
    for name in names:
        value = value[name]
    if field is not None and nested_model(field.annotation):
        return f"{key}={shown(value)}: it holds settings of its own; write {key}.NAME=VALUE."
    return f"{key}={shown(value)}: write {expected(field, value)}."


def declared_at(
    model: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[list[str], FieldInfo | None]:
    """Return the names of `location` down to the deepest declared field or unknown key, and the field."""
    names: list[str] = []
    field: FieldInfo | None = None
    inside: type[BaseModel] | None = model
    for part in location:
        if inside is None:
            break  # pydantic goes on with the parts of a list, or of alternatives.
        names.append(str(part))
        field = fields_of(inside).get(str(part))
        inside = nested_model(field.annotation) if field else None
    return names, field


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the declared fields by the name that a person writes: `_target_`, not `target`."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def declared_keys(model: type[BaseModel], parents: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted name of every declared key."""
    for name, field in fields_of(model).items():
        yield ".".join((*parents, name))
        if nested := nested_model(field.annotation):
            yield from declared_keys(nested, (*parents, name))


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """Return the declared settings that a field holds, None where it holds a value."""
    for kind, _ in alternatives(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def nearest(key: str, known: list[str]) -> str:
    """Return `" Did you mean 'x'?"`: by the whole key, else by its last part alone, else nothing."""
    same_leaf = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    if same_leaf:
        return f" Did you mean '{same_leaf[0]}'?"
    return suggestion(key, [k for k in known if not k.endswith("_")])


def needed(key: str, field: FieldInfo | None) -> str:
    """Return what to write for a key that is missing."""
    if field is None or nested_model(field.annotation):
        return f"{key}=NAME or {key}.NAME=VALUE"
    return f"{key}=VALUE, where VALUE is {expected(field)}"


def shown(value: object) -> str:
    """Return a value as a person writes it on the command line, cut off where it is long."""
    if value is None:
        text = "null"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | tuple):
        text = f"[{','.join(map(shown, value))}]"
    elif isinstance(value, Mapping):
        text = "{" + ",".join(f"{key}:{shown(entry)}" for key, entry in value.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def expected(field: FieldInfo | None, value: object = None) -> str:
    """Return what a field takes, in words: `auto, or a whole number of 0 or more`.

    `value` is what was given; a bound that is there for technical reasons is named where it was exceeded.
    """
    if field is None:
        return "another value"
    choices: list[str] = []  # single words
    phrases: list[str] = []
    for kind, metadata in alternatives(field.annotation, tuple(field.metadata)):
        words, phrase = described(kind, metadata, value)
        choices += [word for word in words if word not in choices]
        if phrase and phrase not in phrases:
            phrases.append(phrase)
    if not phrases:
        return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
    if "null" in choices:  # The exception comes last.
        choices.remove("null")
        phrases.append("null")
    every = [*choices, *phrases]
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])}, or {every[-1]}"


def alternatives(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield every type that an annotation allows, with its constraints and words."""
    if get_origin(annotation) is Annotated:
        kind, *more = get_args(annotation)
        flat = [m for entry in more for m in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
        yield from alternatives(kind, (*metadata, *flat))
    elif get_origin(annotation) in (Union, types.UnionType):
        whole = [m for m in metadata if isinstance(m, Words)]
        if whole:
            yield str, tuple(whole)
        else:
            for kind in get_args(annotation):
                yield from alternatives(kind, metadata)
    else:
        yield annotation, metadata


def described(kind: Any, metadata: tuple[Any, ...], value: object) -> tuple[list[str], str | None]:
    """Return a type's single words to choose from, and a phrase for what is not one of a few words."""
    for entry in metadata:
        if isinstance(entry, Words):
            return [], entry.text
    if get_origin(kind) is Literal:
        return [shown(choice) for choice in get_args(kind)], None
    if kind is bool:
        return ["true", "false"], None
    if kind is type(None):
        return ["null"], None
    if kind is int:
        return [], f"a whole number{range_of(metadata, value)}"
    if kind is float:
        return [], f"a number{range_of(metadata, value)}"
    if kind is str:
        return [], "text (a number as text: \"'1'\")" if isinstance(value, int | float) else "text"
    if get_origin(kind) is list:
        items = get_args(kind)[0]
        of = expected(FieldInfo(annotation=items))
        return [], f"a list such as [a,b], each {of}"
    if kind is dict or get_origin(kind) is dict:
        return [], "settings such as {NAME:VALUE}"
    return [], f"a {getattr(kind, '__name__', kind)}".lower()


def range_of(metadata: tuple[Any, ...], value: object) -> str:
    """Return a number's bounds: ` of 1 or more`, ` between 0 and 1, 1 excluded`."""
    least = next((m.ge for m in metadata if isinstance(m, Ge)), None)
    above = next((m.gt for m in metadata if isinstance(m, Gt)), None)
    most = next((m.le for m in metadata if isinstance(m, Le)), None)
    below = next((m.lt for m in metadata if isinstance(m, Lt)), None)
    is_exceeded = isinstance(value, int) and value > MOST
    if most == MOST and not is_exceeded:
        most = None
    low: Any = least if least is not None else above
    high: Any = most if most is not None else below
    if low is None or high is None:
        bounds = [f"{least} or more"] * (least is not None) + [f"{most} or less"] * (most is not None)
        strict = [f" above {above}"] * (above is not None) + [f" below {below}"] * (below is not None)
        return f" of {bounds[0]}" if bounds else (strict[0] if strict else "")
    excluded = [str(bound) for bound in (above, below) if bound is not None]
    return f" between {low} and {high}" + (f", {' and '.join(excluded)} excluded" if excluded else "")
