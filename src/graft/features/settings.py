"""The settings of the feature cache, declared."""

from typing import Literal

from graft.settings import CountOrZero, PathText, PositiveNumber, Settings


class FeatureSettings(Settings):
    """`features`: whether what the frozen front makes of the images is stored, where and how."""

    cache: bool | Literal["auto"]
    views: Literal["auto"] | CountOrZero
    dir: PathText
    dtype: Literal["float32", "float16"]
    limit_gb: PositiveNumber
