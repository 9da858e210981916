"""Parameter groups: every trainable tensor in exactly one, with its learning rate and weight decay."""

from dataclasses import dataclass
from typing import Any

from graft.models.backbones.stages import stages
from graft.models.classifier import Classifier


@dataclass(frozen=True)
class LearningRates:
    """The head's learning rate, and what the backbone's stages have of it.

    The stage before the head has `head / head_multiplier`, and each stage before that `layer_decay` times the
    rate of the one after it (layer-wise learning-rate decay: Clark et al. 2020, ELECTRA).
    """

    head: float
    head_multiplier: float = 1.0
    layer_decay: float = 1.0


def parameter_groups(classifier: Classifier, rates: LearningRates) -> list[dict[str, Any]]:
    """Return the optimizer's groups of trainable parameters, from stem to head, stages of one rate together.

    Vectors and scalars, that is norms and biases, have no weight decay (He et al. 2019, Bag of Tricks,
    section 3.1).
    """
    backbone = dict(classifier.backbone.named_parameters())
    staged = [(s.name, [backbone[name] for name in s.parameters]) for s in stages(classifier.backbone)]
    depth = len(staged)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for index, (name, parameters) in enumerate([*staged, ("head", list(classifier.head.parameters()))]):
        rate = rates.head
        if index < depth:
            rate *= rates.layer_decay ** (depth - 1 - index) / rates.head_multiplier
        for parameter in parameters:
            if parameter.requires_grad:
                is_decayed = parameter.ndim > 1
                group = groups.setdefault((rate, is_decayed), {"params": [], "lr": rate, "stages": []})
                group["params"].append(parameter)
                if name not in group["stages"]:
                    group["stages"].append(name)
                if not is_decayed:
                    group["weight_decay"] = 0.0
    return [with_name(group) for group in groups.values()]


def with_name(group: dict[str, Any]) -> dict[str, Any]:
    held = group.pop("stages")
    span = held[0] if len(held) == 1 else f"{held[0]}-{held[-1]}"
    kind = "norms and biases" if group.get("weight_decay") == 0.0 else "weights"
    return {**group, "name": f"{span} {kind}"}
