"""The settings of the feature cache, declared."""

from typing import Literal

from graft.settings import CountOrZero, Settings


class FeatureSettings(Settings):
    """`features`: whether what the frozen front makes of the images is stored, and how."""

    cache: bool | Literal["auto"]
    views: Literal["auto"] | CountOrZero
    dtype: Literal["float32", "float16"]
