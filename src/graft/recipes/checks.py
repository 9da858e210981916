"""Refuses what a recipe cannot do, before anything is computed."""

from typing import Any

import lightning as L
from torch import nn

from graft.data.labelled_images import LabelledImages
from graft.data.splits import group_of
from graft.errors import UserError
from graft.features.cross_validation import obstacle
from graft.features.head_solver import refuse_shares
from graft.models.classifier import Classifier
from graft.models.settings import STANDARD
from graft.tasks.task import Task


def refuse_settings(settings: dict[str, Any], task: Task, trainer: L.Trainer) -> None:
    if settings["finetuning"]["schedule"]["_target_"] != STANDARD or settings["callbacks"].get("ema"):
        raise UserError(
            "recipe=auto has its own schedule and average: leave finetuning and callbacks=ema out."
        )
    if not task.has_classes:
        raise UserError(f"recipe=auto is for task=multiclass: leave it out with task={task.name}.")
    if trainer.world_size > 1:
        raise UserError("recipe=auto needs one process: write trainer.devices=1.")
    if settings["features"]["cache"] is False:
        raise UserError("recipe=auto needs cached features: leave features.cache=false out.")


def refuse_images(settings: dict[str, Any], images: LabelledImages) -> None:
    """Raise a UserError where heads cannot be fitted to the training images, or not be compared on them."""
    train = images.samples["train"]
    refuse_shares(train, settings["data"]["balanced"], "recipe=auto")
    if reason := obstacle([sample.target[0] for sample in train], [group_of(sample) for sample in train]):
        raise UserError(
            f"recipe=auto holds training images out to compare heads, but {reason}; write head.solver=lbfgs "
            "in place of recipe=auto."
        )


def refuse_network(classifier: Classifier, loss: nn.Module) -> None:
    """Raise a UserError where the head cannot be solved."""
    if classifier.backbone.has_convolutional_head:
        raise UserError(
            f"recipe=auto fits linear heads, and that of {classifier.backbone.name} is convolutional: write "
            "another model.name."
        )
    if type(loss) is not nn.CrossEntropyLoss:  # Subclasses compute something else.
        raise UserError(
            f"recipe=auto minimises cross-entropy, not {type(loss).__name__}; write loss=cross_entropy."
        )
