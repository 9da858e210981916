"""Reads a file of weights without running code from it, and finds the entries that belong to a network."""

import logging
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from graft.errors import UserError, suggestion
from graft.models.backbones.downloads import reason
from graft.preprocessing import Preprocessing

log = logging.getLogger(__name__)

StateDict = OrderedDict[str, Tensor]

SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError)
DESCRIPTION = "graft"  # what Graft adds to a Lightning checkpoint lies under this key
MOST_NAMED = 8  # entries of a file that an error lists


def is_path(weights: str) -> bool:
    """Return whether `model.weights` names a file rather than an entry of the library's list."""
    return "/" in weights or "\\" in weights or Path(weights).suffix in SUFFIXES


def existing_file(path: Path) -> Path:
    """Return the path if a file is there; raise a UserError with the nearest name if not."""
    path = path.expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"model.weights: {path} is a folder; write the path of the weights file.")
    siblings = sorted(f.name for f in path.parent.iterdir()) if path.parent.is_dir() else []
    where = "" if path.parent.is_dir() else f" The folder {path.parent} does not exist either."
    hint = suggestion(path.name, siblings)
    raise UserError(f"model.weights: there is no file {path}; write its full path.{where}{hint}")


@dataclass(frozen=True)
class Candidate:
    """Entries of a file that may be a network's: those of one state dict below one prefix."""

    label: str  # the key of the state dict and the prefix, dotted
    state: StateDict
    prefix: str  # "" or with a dot at its end
    fits: tuple[int, int] = (0, 0)  # how many names of the network are there: of its shape, of any


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: its state dicts, and how Graft's own checkpoints describe their network."""

    path: Path
    state_dicts: dict[str, StateDict]  # by the dotted key under which they lie, "" at the top
    contents: str  # what lies at the top, for people
    prefix: str | None = None  # model.weights_prefix
    description: dict[str, Any] | None = None  # see `graft.models.checkpoints.describe`

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The preprocessing that a checkpoint of Graft's was trained with; None for other files."""
        return Preprocessing.from_dict(self.description["preprocessing"]) if self.description else None

    @property
    def origin(self) -> str:
        """The file's name, for people, with the network if the file says it."""
        if self.description is None:
            return f"file {self.path.name}"
        network = self.description["model"]
        return (
            f"checkpoint {self.path.name} of {network['name']} ({network['source']}), with its preprocessing"
        )

    def entries_of(self, network: Mapping[str, Tensor], name: str) -> StateDict:
        """Return the entries that fit the names and shapes of a network best, under its names.

        Entries may lie under any key of the file and have a common prefix (`module.`, `teacher.`).
        Raises UserError where two sets with different values fit equally well.
        """
        found = self._candidates(network)
        candidates = self._asked_for(found)
        best = max(candidate.fits for candidate in candidates)
        if 2 * best[1] >= len(network):
            chosen = [candidate for candidate in candidates if candidate.fits == best]
        else:  # Another network, or its authors' own names.
            most = max(len(candidate.state) for candidate in candidates)
            rest = [c for c in candidates if len(c.state) == most]
            # Of each state dict the prefix that fits best, the shortest of equals.
            by_state = {id(c.state): c for c in sorted(rest, key=lambda c: (c.fits, -len(c.prefix)))}
            chosen = list(by_state.values())
        if len(chosen) > 1 and not are_equal(chosen, network):
            labels = [candidate.label for candidate in chosen]
            raise UserError(
                f"model.weights: {self.path} holds {len(chosen)} sets of weights that fit {name} equally "
                f"well, under {' and '.join(label or 'no prefix' for label in labels)}; write "
                f"{' or '.join(f'model.weights_prefix={prefix}' for prefix in shortened(labels))}."
            )
        rivals = tuple(
            c.prefix
            for c in found
            if c.state is chosen[0].state and len(c.prefix) > len(chosen[0].prefix) and c.fits == best
        )
        return below_prefix(chosen[0], rivals, self.path)

    def largest(self) -> StateDict:
        """Return the state dict with the most entries, the first of equals."""
        return max(self.state_dicts.values(), key=len)

    def _candidates(self, network: Mapping[str, Tensor]) -> list[Candidate]:
        """Return the entries below every prefix that a name of the network follows."""
        return [
            Candidate(f"{key}.{prefix}".strip("."), state, prefix, fits)
            for key, state in self.state_dicts.items()
            for prefix, fits in count_by_prefix(state, network).items()
        ]

    def _asked_for(self, found: list[Candidate]) -> list[Candidate]:
        """Return the candidates below `model.weights_prefix`, all where it is None."""
        if self.prefix is None:
            return found
        asked = self.prefix.strip(".")
        matching = [c for c in found if (f".{asked}." in f".{c.label}." if asked else not c.label)]
        # Under the names of its authors, nothing of the network need be found below the prefix.
        matching = matching or [
            Candidate(f"{key}.{asked}".strip("."), state, f"{asked}.")
            for key, state in self.state_dicts.items()
            if any(name.startswith(f"{asked}.") for name in state)
        ]
        if not matching:
            raise UserError(
                f"model.weights_prefix={self.prefix}: {self.path} holds no weights below it; {self.contents}."
            )
        return matching


def read_weights(path: Path, prefix: str | None = None) -> WeightsFile:
    """Return what a .safetensors file or one that torch.save wrote holds, on the CPU.

    Raises UserError where the file is damaged, holds no tensors, or would have to run code.
    """
    content = read_content(path)
    description = content.get(DESCRIPTION) if isinstance(content, Mapping) else None
    if description is not None:
        # Beside it lie the raw weights of an average and the optimizer's state.
        content = {"state_dict": content["state_dict"]}
    found = dict(state_dicts(content))
    if not found:
        raise UserError(
            f"model.weights: {path} holds no state dict (names and tensors); {summary(content)}; "
            "save one as torch.save(network.state_dict(), PATH)."
        )
    return WeightsFile(path, found, summary(content), prefix, description)


def read_content(path: Path) -> Any:
    """Return what lies in the file."""
    try:
        if path.suffix == ".safetensors":
            return OrderedDict(safetensors.torch.load_file(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error):
            raise UserError(
                f"model.weights: {path} holds Python objects, not weights alone, and is not loaded "
                "because it could run code; save it anew as torch.save(network.state_dict(), PATH)."
            ) from error
        raise damaged(path, "neither written by torch.save nor .safetensors") from error
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise damaged(path, reason(error)) from error


def damaged(path: Path, why: str) -> UserError:
    """Return the error for a file that cannot be read."""
    return UserError(
        f"model.weights: {path} is damaged or no weights file ({why}); "
        "bring it anew, or delete it if it was downloaded."
    )


def state_dicts(content: Any, key: str = "") -> Iterator[tuple[str, StateDict]]:
    """Yield every mapping of names to tensors in `content`, with the dotted key under which it lies."""
    if not isinstance(content, Mapping):
        return
    state = OrderedDict((str(name), value) for name, value in content.items() if isinstance(value, Tensor))
    if state:
        # Layers whose parameters were renamed in a later version recognise old files by this.
        if hasattr(content, "_metadata"):
            state._metadata = content._metadata  # type: ignore[attr-defined]
        yield key, state
    for name, value in content.items():
        yield from state_dicts(value, f"{key}.{name}".strip("."))


def summary(content: Any) -> str:
    """Return what lies at the top of a file, for people."""
    if not isinstance(content, Mapping):
        return f"it holds one {type(content).__name__}"
    parts = []
    for key, value in content.items():
        inside = sum(len(state) for _, state in state_dicts(value))
        parts.append(f"{key} ({inside} tensors)" if inside else str(key))
    more = f" and {len(parts) - MOST_NAMED} more" if len(parts) > MOST_NAMED else ""
    return f"it holds {', '.join(parts[:MOST_NAMED]) or 'nothing'}{more}"


def count_by_prefix(state: StateDict, network: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return for every prefix how many names of the network follow it: of its shape, and of any."""
    counts = {"": (0, 0)}
    for name, value in state.items():
        starts = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
        for start in starts:
            own = network.get(name[start:])
            if own is not None:
                of_shape, of_any = counts.get(name[:start], (0, 0))
                counts[name[:start]] = (of_shape + (value.shape == own.shape), of_any + 1)
    return counts


def are_equal(candidates: list[Candidate], network: Mapping[str, Tensor]) -> bool:
    """Return whether all candidates have the same values: a module stored under two names."""
    first, *others = candidates

    def value(candidate: Candidate, name: str) -> Tensor | None:
        return candidate.state.get(candidate.prefix + name)

    for name in network:
        expected = value(first, name)
        for other in others:
            found = value(other, name)
            if (found is None) != (expected is None):
                return False
            if found is not None and expected is not None and not torch.equal(found, expected):
                return False
    return True


def shortened(labels: list[str]) -> list[str]:
    """Return the labels without the parts that all begin or end with, as far as each stays told apart."""
    split = [label.split(".") for label in labels]
    for end in (0, -1):
        while all(len(parts) > 1 for parts in split) and len({parts[end] for parts in split}) == 1:
            for parts in split:
                del parts[end]
    return [".".join(parts) for parts in split]


def below_prefix(candidate: Candidate, rivals: tuple[str, ...], path: Path) -> StateDict:
    """Return the entries below the candidate's prefix, without it, and without those below its rivals'."""
    state, prefix = candidate.state, candidate.prefix
    kept = OrderedDict(
        (name, value)
        for name, value in state.items()
        if name.startswith(prefix) and not name.startswith(rivals)
    )
    if hasattr(state, "_metadata"):
        kept._metadata = OrderedDict(state._metadata)  # type: ignore[attr-defined]
    if len(kept) < len(state):
        log.info("%s: %d of %d entries are left out", path, len(state) - len(kept), len(state))
    consume_prefix_in_state_dict_if_present(kept, prefix)
    return kept
