"""Graft: fine-tune a pretrained image model on your own folder of pictures."""

__version__ = "0.1.0"
