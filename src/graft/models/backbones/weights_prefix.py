"""Finds the entries of a weights file that belong to a network, under any key and prefix."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from graft.errors import UserError
from graft.models.backbones.weights_file import StateDict, WeightsFile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """Entries of a file that may be a network's: those of one state dict below one prefix."""

    label: str  # the key of the state dict and the prefix, dotted
    state: StateDict
    prefix: str  # "" or with a dot at its end
    fits: tuple[int, int] = (0, 0)  # how many names of the network are there: of its shape, of any


def entries_of(file: WeightsFile, network: Mapping[str, Tensor], name: str) -> StateDict:
    """Return the entries that fit the names and shapes of a network best, under its names.

    Entries may lie under any key of the file and have a common prefix (`module.`, `teacher.`).
    Raises UserError where two sets with different values fit equally well.
    """
    found = candidates_of(file, network)
    candidates = asked_for(file, found)
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
            f"model.weights: {file.path} holds {len(chosen)} sets of weights that fit {name} equally "
            f"well, under {' and '.join(label or 'no prefix' for label in labels)}; write "
            f"{' or '.join(f'model.weights_prefix={prefix}' for prefix in shortened(labels))}."
        )
    rivals = tuple(
        c.prefix
        for c in found
        if c.state is chosen[0].state and len(c.prefix) > len(chosen[0].prefix) and c.fits == best
    )
    return below_prefix(chosen[0], rivals, file.path)


def candidates_of(file: WeightsFile, network: Mapping[str, Tensor]) -> list[Candidate]:
    """Return the entries below every prefix that a name of the network follows."""
    return [
        Candidate(f"{key}.{prefix}".strip("."), state, prefix, fits)
        for key, state in file.state_dicts.items()
        for prefix, fits in count_by_prefix(state, network).items()
    ]


def asked_for(file: WeightsFile, found: list[Candidate]) -> list[Candidate]:
    """Return the candidates below `model.weights_prefix`, all where it is None."""
    if file.prefix is None:
        return found
    asked = file.prefix.strip(".")
    matching = [c for c in found if (f".{asked}." in f".{c.label}." if asked else not c.label)]
    # Under the names of its authors, nothing of the network need be found below the prefix.
    matching = matching or [
        Candidate(f"{key}.{asked}".strip("."), state, f"{asked}.")
        for key, state in file.state_dicts.items()
        if any(name.startswith(f"{asked}.") for name in state)
    ]
    if not matching:
        raise UserError(
            f"model.weights_prefix={file.prefix}: {file.path} holds no weights below it; {file.contents}."
        )
    return matching


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
