"""Networks: backbone and head, what is frozen, and checkpoints."""
