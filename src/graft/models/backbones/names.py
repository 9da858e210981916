"""Finds the source of a network by its name alone, and the nearest names of a wrong one."""

import difflib
import importlib
import re
from types import ModuleType

from graft.errors import UserError
from graft.models.settings import AUTO, SOURCES, known_source

FIRST = ("torchvision", "packaged", "timm")  # where several have a network of this name, the first is taken
MOST_SUGGESTED = 5
SHORTEST_WORD = 4  # letters; a shorter part of a name is in too many others


def library_of(source: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.sources.{known_source(source)}")


def libraries() -> dict[str, ModuleType]:
    others = [source for source in SOURCES if source not in (AUTO, *FIRST)]
    return {source: library_of(source) for source in (*FIRST, *others)}


def source_of(name: str) -> str:
    """Return the first source that has a network of this name.

    Raises UserError with the nearest names of all sources where none has it.
    """
    for source, library in libraries().items():
        if library.has(name) if hasattr(library, "has") else name in library.names():
            return source
    everything = sorted({name for library in libraries().values() for name in library.names()})
    nearest = nearest_names(name, everything)
    hint = f" Did you mean {' or '.join(repr(near) for near in nearest)}?" if nearest else ""
    known = [word for word in words(name, SHORTEST_WORD) if any(word in other for other in everything)]
    pattern = f" '*{max(known, key=len)}*'" if known else ""
    raise UserError(
        f"model.name={name}: no source has such a network.{hint} "
        f"python scripts/models.py{pattern} lists {'those' if known else 'all'}."
    )


def nearest_names(name: str, everything: list[str]) -> list[str]:
    """Return the names nearest to a wrong one, the best first.

    Names that differ in case and punctuation only (`ResNet-18`), then those that are spelled alike, then
    those that hold its words (`dinov2`).
    """
    same = [other for other in everything if words(other) == words(name)]
    if same:
        return same
    alike = difflib.get_close_matches(name.lower(), everything, n=MOST_SUGGESTED, cutoff=0.8)
    if alike:
        return alike
    counts = {other: sum(word in other for word in words(name, SHORTEST_WORD)) for other in everything}
    most = max(counts.values())
    by_words = sorted((other for other in everything if most and counts[other] == most), key=len)
    return by_words[:MOST_SUGGESTED] or difflib.get_close_matches(name.lower(), everything, n=1)


def words(name: str, shortest: int = 1) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if len(word) >= shortest]
