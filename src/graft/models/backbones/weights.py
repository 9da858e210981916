"""Reads a file of weights without running code from it and fits its entries to a network."""

import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from graft.errors import UserError, suggestion
from graft.models.backbones.downloads import reason
from graft.models.backbones.network import BuiltNetwork, is_below

log = logging.getLogger(__name__)

SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")
NESTED = ("state_dict", "model")  # where training scripts put the weights beside other things
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError)


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
    siblings = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
    where = "" if path.parent.is_dir() else f" The folder {path.parent} does not exist either."
    hint = suggestion(path.name, siblings)
    raise UserError(f"model.weights: there is no file {path}; write its full path.{where}{hint}")


def read_state_dict(path: Path) -> OrderedDict[str, Tensor]:
    """Return the tensors of a .safetensors file or of one that torch.save wrote, on the CPU.

    Raises UserError where the file is damaged, holds no tensors, or would have to run code.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = OrderedDict(safetensors.torch.load_file(path))
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error):
            raise UserError(
                f"model.weights: {path} holds Python objects, not weights alone, and is not loaded "
                "because it could run code; save it anew as torch.save(network.state_dict(), PATH)."
            ) from error
        raise damaged(path, "neither written by torch.save nor .safetensors") from error
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise damaged(path, reason(error)) from error
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    entries = content.items() if isinstance(content, Mapping) else ()
    state = OrderedDict((str(k), v) for k, v in entries if isinstance(v, Tensor))
    if not state:
        raise UserError(
            f"model.weights: {path} holds no state dict (names and tensors); "
            "save one as torch.save(network.state_dict(), PATH)."
        )
    # Layers whose parameters were renamed in a later version recognise old files by this.
    if hasattr(content, "_metadata"):
        state._metadata = content._metadata  # type: ignore[attr-defined]
    return state


def damaged(path: Path, why: str) -> UserError:
    """Return the error for a file that cannot be read."""
    return UserError(
        f"model.weights: {path} is damaged or no weights file ({why}); "
        "bring it anew, or delete it if it was downloaded."
    )


@dataclass(frozen=True)
class Difference:
    """The names by which a file's entries differ from the network's."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.misshapen,
        }
        return "; ".join(f"{len(n)} {kind}, first {n[0]}" for kind, n in kinds.items() if n)


def load_file(built: BuiltNetwork, path: Path) -> tuple[OrderedDict[str, Tensor], Difference]:
    """Load a file into the network; return its entries under the network's names, and what differs.

    Entries may lie in `state_dict` or `model` and have a common prefix. Another classification
    layer than the network's is left out. If anything else differs, the network is of no use.
    """
    network, heads = built.network, (*built.classifiers, *built.auxiliary)
    own = network.state_dict()
    state = without_prefix(read_state_dict(path), own, path)
    if not hasattr(state, "_metadata"):
        state._metadata = own._metadata  # type: ignore[attr-defined]
    # torchvision's DenseNet files are older than its names: `norm.1.weight` is `norm1.weight`.
    for key in [key for key in state if re.search(r"denselayer\d+\.(norm|conv)\.[12]\.", key)]:
        state[re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key)] = state.pop(key)

    head_roots = tuple(name.split(".")[0] for name in heads)
    left_out = [
        key
        for key, value in state.items()
        if is_below(key, head_roots)
        and (key not in own or (is_below(key, heads) and value.shape != own[key].shape))
    ]
    for key in left_out:
        del state[key]
    if left_out:
        log.info("%s: its classification layer is left out (%s)", path, ", ".join(left_out))

    misshapen = [k for k, v in state.items() if k in own and v.shape != own[k].shape]
    fitting = OrderedDict((k, v) for k, v in state.items() if k not in misshapen)
    fitting._metadata = state._metadata  # type: ignore[attr-defined]
    missing, unexpected = network.load_state_dict(fitting, strict=False)
    auxiliary_roots = tuple(name.split(".")[0] for name in built.auxiliary)
    missing = [
        key
        for key in missing
        if key not in misshapen
        # A count of batches, younger than some files, which inference and training do not use.
        and not key.endswith("num_batches_tracked")
        and not is_below(key, (*built.classifiers, *auxiliary_roots))
    ]
    return state, Difference(missing, unexpected, misshapen)


def without_prefix(
    state: OrderedDict[str, Tensor], own: Collection[str], path: Path
) -> OrderedDict[str, Tensor]:
    """Return the entries below the prefix (`module.`, ...) that leaves most names of the network."""
    first = next(iter(own))
    prefixes = {key.removesuffix(first) for key in state if key.endswith(first)}

    def fits(prefix: str) -> int:
        return sum(prefix + name in state for name in own)

    prefix = max(sorted(prefixes, key=len), key=fits, default="")
    outside = [key for key in state if not key.startswith(prefix)]
    for key in outside:
        del state[key]
    if outside:
        log.info("%s: %d entries outside %s are left out", path, len(outside), prefix)
    consume_prefix_in_state_dict_if_present(state, prefix)
    return state


def refuse_difference(difference: Difference, path: Path, name: str) -> None:
    """Raise a UserError that counts and names what does not fit, if anything does not."""
    if difference:
        raise UserError(
            f"model.weights: {path} does not fit {name}: {difference}; "
            "write the model.name (and model.options) that the file was made with."
        )


def refuse_broken_numbers(network: nn.Module, weights: str) -> None:
    """Raise a UserError where loaded weights hold NaN or infinity."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(f"model.weights={weights}: {name} holds NaN or infinity; choose other weights.")
