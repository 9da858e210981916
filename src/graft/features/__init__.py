"""What the frozen front of a network makes of the pictures, computed once: see `graft.features.cache`."""

from graft.features.cache import FeatureCache
from graft.features.dataset import FeatureDataset

__all__ = ["FeatureCache", "FeatureDataset"]
