"""The settings of the data and of the augmentation, declared. Defaults and meanings are in the YAML files."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from graft.data.layout import refuse_missing_folder
from graft.data.tables import refuse_missing_table
from graft.errors import UserError
from graft.settings import (
    Count,
    InnerShare,
    OwnTargetSettings,
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
    if bounds[0] >= bounds[1]:
        raise ValueError
    return bounds


ValueRange = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(rising)]


class AugmentationSettings(TargetSettings):
    min_scale: Annotated[float, Field(gt=0, le=1)]
    max_aspect: Annotated[float, Field(ge=1)]
    horizontal_flip: Share
    vertical_flip: Share
    colour_jitter: Share
    trivial_augment: bool
    transforms: dict[str, OwnTargetSettings]


class CacheSettings(Settings):
    dir: PathText
    limit_gb: PositiveNumber


class DataSettings(TargetSettings):
    splits: PathText | None
    val_fraction: InnerShare
    test_fraction: InnerShare
    channels: Annotated[int, Field(ge=1, le=1024)]
    fit: Literal["crop", "pad", "squash"]
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
    def leave_images_for_training(self) -> "DataSettings":
        if self.val_fraction + self.test_fraction >= 1:
            raise UserError(
                f"data.val_fraction={self.val_fraction} and data.test_fraction={self.test_fraction} leave "
                "nothing to train on: their sum has to be below 1."
            )
        return self


class FolderSettings(DataSettings):
    root: PathText
    layout: Literal["auto", "classes", "splits"]
    stratify_by: Text | None
    keep_together: Text | None


class ElpvSettings(FolderSettings):
    """`data=elpv`: the solar cells, prepared as an image folder when it is missing."""

    cut: ShareBelowOne


class TableSettings(DataSettings):
    file: PathText
    root: PathText | None
    path_column: Text
    targets: Text | Annotated[list[Text], Field(min_length=1)] = Field(alias="target")
    split_column: Text | None
    group_column: Text | None
    stratify_column: Text | None
    weight_column: Text | None
    extension: Text | None
    match_names: bool


def check_files(data: DataSettings) -> None:
    """Raise a UserError where the folder, the table or the splits file is missing."""
    if isinstance(data, TableSettings):
        refuse_missing_table(Path(data.file).expanduser())
    if isinstance(data, FolderSettings | TableSettings) and data.root is not None:
        root = Path(data.root).expanduser()
        if root.exists() or not isinstance(data, ElpvSettings):  # The solar cells are prepared when missing.
            refuse_missing_folder(root)
    if data.splits is not None and not Path(data.splits).expanduser().is_file():
        raise UserError(f"data.splits={data.splits}: there is no such file.")


DATA: dict[str, type[TargetSettings]] = {
    "graft.data.sources.folder.Folder": FolderSettings,
    "graft.data.sources.elpv.Elpv": ElpvSettings,
    "graft.data.sources.table.Table": TableSettings,
}
AUGMENTATIONS: dict[str, type[TargetSettings]] = {"graft.data.transforms.Augmentation": AugmentationSettings}
