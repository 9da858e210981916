"""Fits the entries of a weights file to a network, and refuses what does not fit."""

import logging
import re
from collections import OrderedDict
from dataclasses import dataclass, replace

from torch import nn

from graft.errors import UserError
from graft.models.backbones.network import BuiltNetwork, is_below
from graft.models.backbones.weights_file import StateDict, WeightsFile
from graft.models.backbones.weights_prefix import entries_of

log = logging.getLogger(__name__)

COUNT_OF_BATCHES = "num_batches_tracked"  # younger than some files; neither inference nor training uses it


@dataclass(frozen=True)
class Difference:
    """The names by which a file's entries differ from the network's."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        return "; ".join(f"{len(n)} {kind}, first {n[0]}" for kind, n in kinds.items() if n)


def load_file(built: BuiltNetwork, file: WeightsFile) -> tuple[StateDict, Difference]:
    """Load a file into the network; return its entries under the network's names, and what differs.

    Another classification layer than the network's is left out. If anything else differs, the
    network is of no use. Raises UserError where the file holds two sets of weights that fit.
    """
    network, heads = built.network, (*built.classifiers, *built.auxiliary)
    own = network.state_dict()
    head_roots = tuple(name.split(".")[0] for name in heads)
    backbone = {
        key: value
        for key, value in own.items()
        if not is_below(key, heads) and not key.endswith(COUNT_OF_BATCHES)
    }
    state = entries_of(file, backbone, built.name)
    if not hasattr(state, "_metadata"):
        state._metadata = own._metadata  # type: ignore[attr-defined]
    # torchvision's DenseNet files are older than its names: `norm.1.weight` is `norm1.weight`.
    for key in [key for key in state if re.search(r"denselayer\d+\.(norm|conv)\.[12]\.", key)]:
        state[re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key)] = state.pop(key)

    left_out = [
        key
        for key, value in state.items()
        if is_below(key, head_roots)
        and (key not in own or (is_below(key, heads) and value.shape != own[key].shape))
    ]
    for key in left_out:
        del state[key]
    if left_out:
        log.info("%s: its classification layer is left out (%s)", file.path, ", ".join(left_out))

    misshapen = [k for k, v in state.items() if k in own and v.shape != own[k].shape]
    fitting = OrderedDict((k, v) for k, v in state.items() if k not in misshapen)
    fitting._metadata = state._metadata  # type: ignore[attr-defined]
    missing, unexpected = network.load_state_dict(fitting, strict=False)
    auxiliary_roots = tuple(name.split(".")[0] for name in built.auxiliary)
    missing = [
        key
        for key in missing
        if key not in misshapen
        and not key.endswith(COUNT_OF_BATCHES)
        and not is_below(key, (*built.classifiers, *auxiliary_roots))
    ]
    return state, Difference(missing, unexpected, misshapen)


def loaded_from(file: WeightsFile, built: BuiltNetwork) -> BuiltNetwork:
    """Return a network into which a file was loaded, with the file's own preprocessing if it says one."""
    preprocessing = file.preprocessing or built.preprocessing
    return replace(built, weights=file.origin, preprocessing=preprocessing, is_pretrained=True)


def refuse_difference(difference: Difference, file: WeightsFile, name: str) -> None:
    """Raise a UserError that counts and names what does not fit, if anything does not."""
    if difference:
        made_of = f"a {file.origin}" if file.description else file.contents
        raise UserError(
            f"model.weights: {file.path} does not fit {name}: {difference} ({made_of}); "
            "write the model.name (and model.options) that the file was made with."
        )


def refuse_broken_numbers(network: nn.Module, weights: str) -> None:
    """Raise a UserError where loaded weights hold NaN or infinity."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(f"model.weights={weights}: {name} holds NaN or infinity; choose other weights.")
