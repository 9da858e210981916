"""Finds the library of a network by its name alone, and the nearest names of a wrong one."""

import difflib
import re

from graft.errors import UserError
from graft.models.backbones import packaged, timm, torchvision

AUTO = "auto"
# In this order: where several have a network of this name, the first is taken.
LIBRARIES = {"torchvision": torchvision, "packaged": packaged, "timm": timm}
MOST_SUGGESTED = 5
SHORTEST_WORD = 4  # letters; a shorter part of a name is in too many others


def source_of(name: str) -> str:
    """Return the source that has a network of this name: torchvision, packaged or timm, in this order.

    Raises UserError with the nearest names of all of them where none has it.
    """
    architecture = name.partition(".")[0]  # timm's names may end in the tag of their weights
    for source, library in LIBRARIES.items():
        if (architecture if source == "timm" else name) in library.names():
            return source
    nearest = nearest_names(name)
    hint = f" Did you mean {' or '.join(repr(near) for near in nearest)}?" if nearest else ""
    held = [
        word for word in words(name) if len(word) >= SHORTEST_WORD and any(word in n for n in every_name())
    ]
    pattern = f" '*{max(held, key=len)}*'" if held else ""
    raise UserError(
        f"model.name={name}: neither torchvision nor timm has such a network.{hint} "
        f"python scripts/models.py{pattern} lists {'those' if held else 'all'}."
    )


def every_name() -> list[str]:
    """Return the names of all networks, sorted."""
    return sorted({name for library in LIBRARIES.values() for name in library.names()})


def nearest_names(name: str) -> list[str]:
    """Return the names nearest to a wrong one, the best first.

    Names that differ in case and punctuation only (`ResNet-18`), then those that hold its words
    (`dinov2`), then those that are spelled alike.
    """
    everything = every_name()
    same = [other for other in everything if plain(other) == plain(name)]
    if same:
        return same
    parts = [part for part in words(name) if len(part) >= SHORTEST_WORD]
    holding = {other: sum(part in other for part in parts) for other in everything}
    alike = difflib.get_close_matches(name.lower(), everything, n=MOST_SUGGESTED, cutoff=0.8)
    most = max(holding.values())
    by_words = [other for other in everything if holding[other] == most] if most else []
    return (alike or sorted(by_words, key=len))[:MOST_SUGGESTED] or difflib.get_close_matches(
        name.lower(), everything, n=1, cutoff=0.6
    )


def words(name: str) -> list[str]:
    """Return the parts of a name between its punctuation, in small letters."""
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def plain(name: str) -> str:
    """Return a name's small letters and digits."""
    return "".join(words(name))
