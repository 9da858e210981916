"""Kinds of answer: one class an image, several labels, numbers. One file each."""

# A sample's answer as text: its class; all labels that it has; or a number for each target column.
Target = tuple[str, ...]
