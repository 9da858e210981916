"""The settings of the data and of the augmentation, declared. Defaults and meanings are in the YAML files."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from graft.data.folder import refuse_what_is_no_folder
from graft.errors import UserError
from graft.settings import (
    Count,
    InnerShare,
    PathText,
    PositiveNumber,
    Settings,
    Share,
    ShareBelowOne,
    TargetSettings,
    Text,
    Words,
)


def rising(bounds: list[float]) -> list[float]:
    """Return the two bounds; raises ValueError where the first is not below the second."""
    if bounds[0] >= bounds[1]:
        raise ValueError
    return bounds


ValueRange = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(rising)]


class AugmentationSettings(TargetSettings):
    """`augmentation`: how training images are varied."""

    min_scale: Annotated[float, Field(gt=0, le=1)]
    max_aspect: Annotated[float, Field(ge=1)]
    horizontal_flip: Share
    vertical_flip: Share
    colour_jitter: Share
    trivial_augment: bool


class CacheSettings(Settings):
    """`cache`: where features and decoded images are stored, and how much room they take."""

    dir: PathText
    limit_gb: PositiveNumber


class FolderSettings(TargetSettings):
    """`data=folder`: a folder of images."""

    root: PathText
    splits: PathText | None
    layout: Literal["auto", "classes", "splits"]
    val_fraction: InnerShare
    test_fraction: InnerShare
    stratify_by: Text | None
    keep_together: Text | None
    image_size: Annotated[int, Field(ge=8, le=16384)] | None
    value_range: Literal["auto"] | Annotated[ValueRange, Words("two rising numbers such as [0,255]")]
    batch_size: Count
    num_workers: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)]
    on_error: Literal["raise", "skip"]
    balanced: bool
    limit: Count | None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    augmentation: AugmentationSettings
    cache: Literal["none", "ram", "disk"]
    cache_dir: PathText
    cache_limit_gb: PositiveNumber

    @model_validator(mode="after")
    def leave_images_for_training(self) -> "FolderSettings":
        """Raise a UserError where validation and test take everything."""
        if self.val_fraction + self.test_fraction >= 1:
            raise UserError(
                f"data.val_fraction={self.val_fraction} and data.test_fraction={self.test_fraction} leave "
                "nothing to train on: their sum has to be below 1."
            )
        return self


class ElpvSettings(FolderSettings):
    """`data=elpv`: the solar cells, prepared as an image folder when it is missing."""

    cut: ShareBelowOne


def check_files(data: FolderSettings) -> None:
    """Raise a UserError where the folder or the splits file is missing, or something else than that."""
    root = Path(data.root).expanduser()
    if root.exists() or not isinstance(data, ElpvSettings):  # The solar cells are prepared when missing.
        refuse_what_is_no_folder(root)
    if data.splits is not None and not Path(data.splits).expanduser().is_file():
        raise UserError(f"data.splits={data.splits}: there is no such file.")


DATA: dict[str, type[TargetSettings]] = {
    "graft.data.module.ImageFolderDataModule": FolderSettings,
    "graft.data.module.ElpvDataModule": ElpvSettings,
}
AUGMENTATIONS: dict[str, type[TargetSettings]] = {"graft.data.transforms.Augmentation": AugmentationSettings}
