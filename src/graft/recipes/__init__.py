"""The best network for a given time: heads on cached features, fine-tuning, and an average of its epochs."""
