"""The settings of what a run shows in TensorBoard, declared."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from graft.settings import CountOrZero, TargetSettings, Words


class TensorBoardImagesSettings(TargetSettings):
    """`callbacks.tensorboard_images`: images, figures and predictions in TensorBoard."""

    bands: Annotated[list[CountOrZero], Words("three whole numbers such as [0,1,2]")] = Field(
        [0, 1, 2], min_length=3, max_length=3
    )


CALLBACKS: dict[str, type[TargetSettings]] = {
    "graft.reporting.board.callback.TensorBoardImages": TensorBoardImagesSettings
}


def bands_of(settings: Mapping[str, Any]) -> list[int]:
    """Return the bands that TensorBoard and report show of images with more than three."""
    callbacks = [callback for callback in settings["callbacks"].values() if callback]
    return next((one["bands"] for one in callbacks if one["_target_"] in CALLBACKS), [0, 1, 2])
