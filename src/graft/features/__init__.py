"""What a frozen backbone makes of the pictures, computed once and kept: see `graft.features.cache`."""

from graft.features.cache import FeatureCache
from graft.features.dataset import FeatureDataset

__all__ = ["FeatureCache", "FeatureDataset"]
