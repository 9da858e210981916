"""The stages of a backbone, from the stem to the last: what is trained or frozen together."""

import re
from dataclasses import dataclass

from timm.models import group_parameters
from torch import nn

from graft.models.backbones.backbone import Backbone

STEM = "stem"
NEW_HEAD = "head"  # what comes after the backbone; some of timm's keep a norm under this name
FEWEST_PARTS = 4


@dataclass(frozen=True)
class Stage:
    name: str  # `stem`, then the path of the part in the network: `layer1`, `features.3`
    parameters: tuple[str, ...]  # as in `backbone.named_parameters()`


def stages(backbone: Backbone) -> list[Stage]:
    """Return the stages in the order in which they work on an image; each parameter is in one.

    timm's networks define their stages. Of torchvision's, each block is a stage; layers outside blocks form
    a stage with their neighbours up to the next pooling, and norms belong to what they normalise.
    """
    network = backbone.network
    groups = timm_groups(network)
    if groups is None:
        groups = torchvision_groups(network, [name.split(".")[0] for name in backbone.auxiliary])
    return [
        Stage(name, tuple(f"network.{parameter}" for parameter in group))
        for name, group in zip(stage_names(groups), groups, strict=True)
    ]


def stage_names(groups: list[list[str]]) -> list[str]:
    """Return `stem` and, for every other group, the shortest path to it that no other shares."""
    holders: dict[str, set[int]] = {}
    for number, group in enumerate(groups):
        for name in group:
            for path in paths(name):
                holders.setdefault(path, set()).add(number)
    return [
        STEM if number == 0 else next(p for p in paths(group[0]) if len(holders[p]) == 1 and p != NEW_HEAD)
        for number, group in enumerate(groups)
    ]


def paths(name: str) -> list[str]:
    return [name[: dot.start()] for dot in re.finditer(r"\.|$", name)]


def timm_groups(network: nn.Module) -> list[list[str]] | None:
    """Return the parameters' names, one list a stage; None where timm does not group all of them."""
    if not hasattr(network, "group_matcher"):
        return None
    try:
        matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    except AssertionError:
        return None
    groups = [group for group in group_parameters(network, matcher).values() if group]
    first = next(name for name, _ in network.named_parameters())
    return groups if first in groups[0] else None


def torchvision_groups(network: nn.Module, auxiliary: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    last: list[str] = []  # auxiliary classifiers are trained as soon as anything of the backbone is
    is_open = False  # whether the last group is of layers outside blocks, with no pooling since
    for path, module in parts(network):
        names = [f"{path}.{name}" for name, _ in module.named_parameters()]
        layers = sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in module.modules())
        if not names:
            is_open = is_open and "Pool" not in type(module).__name__
        elif path in auxiliary:
            last += names
        elif groups and (layers == 0 or (layers == 1 and is_open)):
            groups[-1] += names
        else:
            groups.append(names)
            is_open = layers == 1
    groups[-1] += last
    placed = {name for group in groups for name in group}
    # Beside the parts lie a transformer's class token and position embedding.
    groups[0] += [name for name, _ in network.named_parameters() if name not in placed]
    return groups


def parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the children of a network in order; where they are few, the largest is replaced by its own.

    The blocks of `features` and `classifier`, or of `conv_proj` and `encoder`, are in the largest of them.
    """
    result = list(network.named_children())
    while sum(bool(list(module.parameters())) for _, module in result) < FEWEST_PARTS:
        trunk = max(range(len(result)), key=lambda i: len(list(result[i][1].modules())))
        path, module = result[trunk]
        children = [(f"{path}.{name}", child) for name, child in module.named_children()]
        if not children:
            break
        result[trunk : trunk + 1] = children
    return result
