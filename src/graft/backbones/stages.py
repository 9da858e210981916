"""Cuts a network into stages, from stem to last, by its own structure and without a table of names."""

from dataclasses import dataclass

from torch import nn

from graft.backbones.backbone import Backbone

FEWEST_STAGES = 4  # ResNet's; with fewer blocks, what is inside them is the stages.
POOLING = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Stage:
    """A part of the backbone that is frozen or learns as one."""

    name: str  # the part's path in the network, or `stem`
    parameters: tuple[str, ...]  # names in backbone.named_parameters()


@dataclass
class Unit:
    """A module on the way from the stem to the head, before stages are made of it."""

    name: str
    module: nn.Module


def stages(backbone: Backbone) -> list[Stage]:
    """Return the backbone's stages from stem to last; every parameter is in exactly one.

    The network's blocks, in order, are the stages; where there are fewer than four, they are opened
    and the blocks inside count. Single layers before the first block, class tokens and position
    embeddings are the `stem`; single layers after a block (a final norm) belong to it. A network
    of single layers only (VGG, AlexNet) is cut at its pooling layers.
    """
    stem, units = open_blocks(backbone.network)
    has_blocks = any(is_block(unit.module) for unit in units)
    found = cut_at_blocks(units) if has_blocks else cut_at_pooling(units)
    if stem:
        found.setdefault("stem", [])
        found = {"stem": stem + found.pop("stem"), **found}
    return [
        Stage(name, tuple(f"network.{parameter}" for parameter in parameters))
        for name, parameters in found.items()
        if parameters
    ]


def is_block(module: nn.Module) -> bool:
    """Return whether the module holds others with parameters, as a single layer does not."""
    return any(True for child in module.children() for _ in child.parameters())


def open_blocks(network: nn.Module) -> tuple[list[str], list[Unit]]:
    """Open blocks until there are enough; return parameters of opened ones, and what was inside."""
    stem = [name for name, _ in network.named_parameters(recurse=False)]
    units = [Unit(name, child) for name, child in network.named_children()]
    while 0 < sum(is_block(unit.module) for unit in units) < FEWEST_STAGES:
        opened: list[Unit] = []
        for unit in units:
            if not is_block(unit.module):
                opened.append(unit)
                continue
            stem += [f"{unit.name}.{name}" for name, _ in unit.module.named_parameters(recurse=False)]
            opened += [Unit(f"{unit.name}.{name}", child) for name, child in unit.module.named_children()]
        units = opened
    return stem, units


def parameter_names(unit: Unit) -> list[str]:
    """Return the unit's parameters by their names in the network."""
    return [f"{unit.name}.{name}" for name, _ in unit.module.named_parameters()]


def cut_at_blocks(units: list[Unit]) -> dict[str, list[str]]:
    """Make a stage of every block and the single layers that follow it."""
    found: dict[str, list[str]] = {}
    current = "stem"
    for unit in units:
        # Some networks keep a norm in what was their head; `head` is the name of the new one.
        if is_block(unit.module) and unit.name != "head":
            current = unit.name
        found.setdefault(current, []).extend(parameter_names(unit))
    return found


def cut_at_pooling(units: list[Unit]) -> dict[str, list[str]]:
    """Make a stage of the layers between two pooling layers, and one of every later linear layer."""
    found: dict[str, list[str]] = {}
    current = ""
    for unit in units:
        if isinstance(unit.module, POOLING):
            current = ""
        names = parameter_names(unit)
        if names:
            if not current or isinstance(unit.module, nn.Linear):
                current = unit.name
            found.setdefault(current, []).extend(names)
    return found
