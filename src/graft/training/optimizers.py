"""Parameter groups: every learning tensor in exactly one, each with its learning rate and decay."""

import math
from typing import Any

from omegaconf import DictConfig

from graft.errors import UserError
from graft.models.backbones.stages import stages
from graft.models.classifier import Classifier


def parameter_groups(
    classifier: Classifier, learning_rate: float, head_lr_multiplier: float = 1.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Return the optimizer's groups of what learns, from stem to head, stages of one rate together.

    The head learns at `learning_rate`, the stage before it at `learning_rate / head_lr_multiplier`,
    and each stage before that at `layer_decay` times the rate of the one after it (layer-wise
    learning-rate decay: Clark et al. 2020, ELECTRA). Vectors and scalars, that is norms and biases,
    have no weight decay (He et al. 2019, Bag of Tricks, section 3.1).

    Raises UserError where a factor is out of its range.
    """
    if learning_rate <= 0:
        raise UserError(f"optimizer.lr={learning_rate}: it is above 0.")
    if head_lr_multiplier <= 0:
        raise UserError(f"finetuning.head_lr_multiplier={head_lr_multiplier}: it is above 0.")
    if not 0 < layer_decay <= 1:
        raise UserError(f"finetuning.layer_decay={layer_decay}: it is above 0 and at most 1.")
    backbone = dict(classifier.backbone.named_parameters())
    staged = [(s.name, [backbone[name] for name in s.parameters]) for s in stages(classifier.backbone)]
    depth = len(staged)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for index, (name, parameters) in enumerate([*staged, ("head", list(classifier.head.parameters()))]):
        rate = learning_rate
        if index < depth:
            rate *= layer_decay ** (depth - 1 - index) / head_lr_multiplier
        for parameter in parameters:
            if parameter.requires_grad:
                is_decayed = parameter.ndim > 1
                group = groups.setdefault((rate, is_decayed), {"params": [], "lr": rate, "stages": []})
                group["params"].append(parameter)
                if name not in group["stages"]:
                    group["stages"].append(name)
                if not is_decayed:
                    group["weight_decay"] = 0.0
    return [named(group) for group in groups.values()]


def named(group: dict[str, Any]) -> dict[str, Any]:
    """Give a group the name that the learning-rate curves show: its stages, and what it holds."""
    held = group.pop("stages")
    span = held[0] if len(held) == 1 else f"{held[0]}-{held[-1]}"
    kind = "norms and biases" if group.get("weight_decay") == 0.0 else "weights"
    return {**group, "name": f"{span} {kind}"}


def with_learning_rate(config: DictConfig) -> DictConfig:
    """Return the settings with a number that `learning_rate` gives as `optimizer.lr`.

    Raises UserError for a value that is neither null nor auto nor a number above 0.
    """
    rate = config.learning_rate
    if rate is None or rate == "auto":
        return config
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise UserError(f"learning_rate={rate}: write auto, a number above 0, or null for optimizer.lr.")
    config = config.copy()
    config.optimizer.lr = float(rate)
    return config
