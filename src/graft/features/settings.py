"""The settings of the feature cache, declared."""

from typing import Literal

from graft.settings import CountOrZero, Settings


class FeatureSettings(Settings):
    """`features`: whether and how the features of a frozen backbone are cached."""

    cache: bool | Literal["auto"]
    views: Literal["auto"] | CountOrZero
    dtype: Literal["float32", "float16"]
    engine: Literal["auto", "torch", "openvino", "onnxruntime"]
