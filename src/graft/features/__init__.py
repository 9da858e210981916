"""What the frozen front of a network makes of the images, computed once: see `graft.features.cache`."""
