"""Finds the entries of a weights file that fit a network, loads them, and refuses what does not fit."""

import logging
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

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


def entries_of(file: WeightsFile, network: Mapping[str, Tensor], name: str) -> StateDict:
    """Return the entries that fit the names and shapes of a network best, under its names.

    Entries may lie under any key of the file and have a common prefix (`module.`, `teacher.`).
    Raises UserError where two sets with different values fit equally well.
    """
    fits = count_by_prefix(file, network)
    prefixes = asked_for(file, fits)
    best = max(fits[prefix] for prefix in prefixes)
    if 2 * best[1] >= len(network):
        chosen = [prefix for prefix in prefixes if fits[prefix] == best]
    else:  # Another network, or its authors' own names.
        sizes = {prefix: len(file.state_dicts[file.key_of(prefix)]) for prefix in prefixes}
        rest = [prefix for prefix in prefixes if sizes[prefix] == max(sizes.values())]
        # Of each state dict the prefix that fits best, the shortest of equals.
        rest.sort(key=lambda prefix: (fits[prefix], -len(prefix)))
        chosen = list({file.key_of(prefix): prefix for prefix in rest}.values())
    first, *others = [file.below(prefix) for prefix in chosen]
    if not all(are_equal(first, other, network) for other in others):
        labels = [prefix.strip(".") for prefix in chosen]
        raise UserError(
            f"model.weights: {file.path} holds {len(chosen)} sets of weights that fit {name} equally "
            f"well, under {' and '.join(label or 'no prefix' for label in labels)}; write "
            f"{' or '.join(f'model.weights_prefix={label}' for label in shortened(labels))}."
        )
    rivals = tuple(p for p in fits if fits[p] == best and p.startswith(chosen[0]) and p != chosen[0])
    state, whole = file.below(chosen[0], but=rivals), file.state_dicts[file.key_of(chosen[0])]
    if len(state) < len(whole):
        log.info("%s: %d of %d entries are left out", file.path, len(whole) - len(state), len(whole))
    return state


def count_by_prefix(file: WeightsFile, network: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return for every prefix how many names of the network follow it: of its shape, and of any."""
    counts = defaultdict(lambda: (0, 0), dict.fromkeys(file.state_dicts, (0, 0)))
    for key, state in file.state_dicts.items():
        for name, value in state.items():
            for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
                if (own := network.get(name[start:])) is not None:
                    of_shape, of_any = counts[key + name[:start]]
                    counts[key + name[:start]] = (of_shape + (value.shape == own.shape), of_any + 1)
    return counts


def asked_for(file: WeightsFile, prefixes: Iterable[str]) -> list[str]:
    """Return the prefixes that hold `model.weights_prefix`, all where it is None."""
    if file.prefix is None:
        return list(prefixes)
    asked = f"{file.prefix.strip('.')}.".removeprefix(".")
    matching = [prefix for prefix in prefixes if (f".{asked}" in f".{prefix}" if asked else not prefix)]
    # Under the names of its authors, nothing of the network need be found below the prefix.
    matching = matching or [key + asked for key in file.state_dicts if asked and file.below(key + asked)]
    if not matching:
        raise UserError(
            f"model.weights_prefix={file.prefix}: {file.path} holds no weights below it; {file.contents}."
        )
    return matching


def are_equal(one: StateDict, other: StateDict, network: Mapping[str, Tensor]) -> bool:
    """Return whether two states have the same values for a network: a module stored under two names."""
    held = [name for name in network if name in one or name in other]
    return all(name in one and name in other and torch.equal(one[name], other[name]) for name in held)


def shortened(labels: list[str]) -> list[str]:
    """Return the labels without the parts that all begin or end with, as far as each stays told apart."""
    split = [label.split(".") for label in labels]
    for end in (0, -1):
        while all(len(parts) > 1 for parts in split) and len({parts[end] for parts in split}) == 1:
            for parts in split:
                del parts[end]
    return [".".join(parts) for parts in split]
