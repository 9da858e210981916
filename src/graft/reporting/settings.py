"""The settings of what a run shows in TensorBoard, declared."""

from pydantic import Field

from graft.settings import CountOrZero, TargetSettings


class TensorBoardImagesSettings(TargetSettings):
    """`callbacks.tensorboard_images`: images, figures and predictions in TensorBoard."""

    bands: list[CountOrZero] = Field([0, 1, 2])


CALLBACKS: dict[str, type[TargetSettings]] = {
    "graft.reporting.board.callback.TensorBoardImages": TensorBoardImagesSettings
}
