"""What the frozen front of a network makes of the pictures, computed once: see `graft.features.cache`."""
