"""What a frozen backbone makes of the pictures, computed once and kept: see `graft.features.cache`."""

from graft.features.cache import FeatureCache

__all__ = ["FeatureCache"]
