"""The list of networks that can be used, with what their weights' own metadata says."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

import timm as timm_library
from torchvision.models import get_model_weights

from graft.errors import UserError, suggestion
from graft.models.backbones import packaged, timm, torchvision

HEADER = ("name", "source", "weights", "parameters", "pixels", "ImageNet top-1")


@dataclass(frozen=True)
class Entry:
    """A network with one set of weights; None where the library does not say."""

    name: str
    source: str
    weights: str
    parameters: int | None
    pixels: int  # height and width of the input
    accuracy: float | None  # ImageNet-1k top-1, per cent

    def row(self) -> tuple[str, ...]:
        """Return the entry's cells."""
        parameters = f"{self.parameters / 1e6:.1f} M" if self.parameters else ""
        accuracy = f"{self.accuracy:.1f} %" if self.accuracy else ""
        return (self.name, self.source, self.weights, parameters, str(self.pixels), accuracy)


def entries() -> Iterator[Entry]:
    """Return every network of every source; for timm only the default weights."""
    for name in packaged.names():
        config = timm_library.get_pretrained_cfg(packaged.ARCHITECTURES[name])
        yield Entry(name, "packaged", "default", None, config.input_size[1], None)
    for name in torchvision.names():
        for weights in get_model_weights(name):
            yield Entry(
                name,
                "torchvision",
                weights.name,
                weights.meta["num_params"],
                torchvision.preprocessing(weights).crop[0],
                weights.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1"),
            )
    for name in timm.names():
        config = timm_library.get_pretrained_cfg(name)
        if config:
            tag = (config.tag or "default") if config.has_weights else "null"
            yield Entry(name, "timm", tag, None, config.input_size[1], None)


def find(pattern: str) -> list[Entry]:
    """Return the entries whose name matches a shell-style pattern (`resnet*`).

    Raises UserError where none does.
    """
    everything = list(entries())
    found = [entry for entry in everything if fnmatch(entry.name, pattern)]
    if not found:
        word = pattern.strip("*")
        is_part = any(word in entry.name for entry in everything)
        hint = (
            f" Did you mean '*{word}*'?"
            if is_part
            else suggestion(word, sorted({entry.name for entry in everything}))
        )
        raise UserError(f"no network's name matches '{pattern}'.{hint}")
    return found


def table(found: list[Entry]) -> str:
    """Return the entries as an aligned table with a header line."""
    rows = [HEADER, *(entry.row() for entry in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
