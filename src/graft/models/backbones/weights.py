"""Finds the entries of a weights file that fit a network, loads them, and refuses what does not fit."""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from graft.errors import UserError
from graft.models.backbones.channels import rgb_convolutions, set_channels
from graft.models.backbones.network import BuiltNetwork, is_below
from graft.models.backbones.weights_file import StateDict, WeightsFile

log = logging.getLogger(__name__)

COUNT_OF_BATCHES = "num_batches_tracked"  # younger than some files; neither inference nor training uses it


def load_file(
    built: BuiltNetwork, file: WeightsFile, convert: Callable[[BuiltNetwork, StateDict], bool] | None = None
) -> BuiltNetwork:
    """Load a file into the network, and use the preprocessing that the file says, if any.

    Another classification layer than the network's is left out; the first layer follows the file's number of
    channels. If anything else differs, `convert` may load the entries and returns whether it could.
    Raises UserError where the file does not fit, or holds two sets of weights that do.
    """
    network, heads = built.network, (*built.classifiers, *built.auxiliary)
    own = network.state_dict()
    roots, auxiliary_roots = (tuple(n.split(".")[0] for n in names) for names in (heads, built.auxiliary))
    backbone = {
        key: value
        for key, value in own.items()
        if not is_below(key, heads) and not key.endswith(COUNT_OF_BATCHES)
    }
    state = entries_of(file, backbone, built.name)
    left_out = [
        key
        for key, value in state.items()
        if is_below(key, roots)
        and (key not in own or (is_below(key, heads) and value.shape != own[key].shape))
    ]
    for key in left_out:
        del state[key]
    if left_out:
        log.info("%s: its classification layer is left out (%s)", file.path, ", ".join(left_out))

    channels = use_channels_of(network, state)
    own = network.state_dict()
    misshapen = [k for k, v in state.items() if k in own and v.shape != own[k].shape]
    fitting = OrderedDict((k, v) for k, v in state.items() if k not in misshapen)
    fitting._metadata = getattr(state, "_metadata", own._metadata)  # type: ignore[attr-defined]
    missing, unexpected = network.load_state_dict(fitting, strict=False)
    may_miss = (*built.classifiers, *auxiliary_roots)
    missing = [
        key
        for key in missing
        if key not in misshapen and not key.endswith(COUNT_OF_BATCHES) and not is_below(key, may_miss)
    ]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    difference = "; ".join(f"{len(n)} {kind}, first {n[0]}" for kind, n in differences.items() if n)
    if difference:
        if convert is None or not convert(built, state):
            made_of = f"a {file.origin}" if file.description else file.contents
            raise UserError(
                f"model.weights: {file.path} does not fit {built.name}: {difference} ({made_of}); "
                "write the model.name (and model.options) that the file was made with."
            )
        log.info("%s: its entries were converted (%s)", file.path, difference)
    return replace(
        built,
        weights=file.origin,
        preprocessing=file.preprocessing or built.preprocessing,
        is_pretrained=True,
        channels=channels or built.channels,
    )


def use_channels_of(network: nn.Module, state: StateDict) -> int | None:
    """Give the first layer the channels of the entries, and return their number; None where it has them."""
    channels = None
    for name, convolution in rgb_convolutions(network).items():
        weight, own = state.get(f"{name}.weight"), convolution.weight
        if weight is not None and weight.shape != own.shape and weight[:, :1].shape == own[:, :1].shape:
            channels = weight.shape[1]
            set_channels(convolution, channels)
    return channels


def refuse_broken_numbers(network: nn.Module, weights: str) -> None:
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(f"model.weights={weights}: {name} holds NaN or infinity; choose other weights.")


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
    every = [
        Candidate(f"{key}.{prefix}".strip("."), state, prefix, fits)
        for key, state in file.state_dicts.items()
        for prefix, fits in count_by_prefix(state, network).items()
    ]
    candidates = asked_for(file, every)
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
        for c in every
        if c.state is chosen[0].state and len(c.prefix) > len(chosen[0].prefix) and c.fits == best
    )
    return below_prefix(chosen[0], rivals, file.path)


def asked_for(file: WeightsFile, candidates: list[Candidate]) -> list[Candidate]:
    """Return the candidates below `model.weights_prefix`, all where it is None."""
    if file.prefix is None:
        return candidates
    asked = file.prefix.strip(".")
    matching = [c for c in candidates if (f".{asked}." in f".{c.label}." if asked else not c.label)]
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
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            if (own := network.get(name[start:])) is not None:
                of_shape, of_any = counts.get(name[:start], (0, 0))
                counts[name[:start]] = (of_shape + (value.shape == own.shape), of_any + 1)
    return counts


def are_equal(candidates: list[Candidate], network: Mapping[str, Tensor]) -> bool:
    """Return whether all candidates have the same values: a module stored under two names."""
    first, *others = ([c.state.get(c.prefix + name) for name in network] for c in candidates)
    return all(
        one is two or (one is not None and two is not None and torch.equal(one, two))
        for other in others
        for one, two in zip(first, other, strict=True)
    )


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
