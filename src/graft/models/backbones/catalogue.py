"""The list of networks that can be used, with what their weights' own metadata says."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from graft.errors import UserError, suggestion
from graft.models.backbones.names import libraries

HEADER = ("name", "source", "weights", "parameters", "pixels", "ImageNet top-1")


@dataclass(frozen=True)
class Entry:
    """A network with one set of weights; None where the library does not say."""

    name: str
    source: str
    weights: str = "default"
    pixels: int | None = None  # height and width of the input
    parameters: int | None = None
    accuracy: float | None = None  # ImageNet-1k top-1, per cent

    def row(self) -> tuple[str, ...]:
        parameters = f"{self.parameters / 1e6:.1f} M" if self.parameters else ""
        accuracy = f"{self.accuracy:.1f} %" if self.accuracy else ""
        return (self.name, self.source, self.weights, parameters, str(self.pixels or ""), accuracy)


def entries() -> Iterator[Entry]:
    for source, library in libraries().items():
        rows = library.entries() if hasattr(library, "entries") else ({"name": n} for n in library.names())
        yield from (Entry(source=source, **row) for row in rows)


def find(pattern: str) -> list[Entry]:
    """Return the entries whose name matches a shell-style pattern (`resnet*`).

    Raises UserError where none does.
    """
    everything = list(entries())
    matching = [entry for entry in everything if fnmatch(entry.name, pattern)]
    if not matching:
        word, names = pattern.strip("*"), sorted({entry.name for entry in everything})
        hint = f" Did you mean '*{word}*'?" if any(word in n for n in names) else suggestion(word, names)
        raise UserError(f"no network's name matches '{pattern}'.{hint}")
    return matching


def table(entries: list[Entry]) -> str:
    rows = [HEADER, *(entry.row() for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
