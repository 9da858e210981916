"""Graft: fine-tune a pretrained image model on your own images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graft.inference.model import Model

__version__ = "0.1.0"
__all__ = ["load"]


def load(path: str | Path, allow: Sequence[str] = ()) -> "Model":
    """Return a trained model, ready to predict: a checkpoint, or a file that `scripts/export.py` wrote.

    `load("best.ckpt").predict(["a.jpg"])[0].label` is the class of an image. A checkpoint runs on the GPU
    where there is one. `allow` names packages that the file may import besides Graft's own. Raises UserError
    where the file is missing, damaged or not a model of Graft's.
    """
    from graft.inference.runtimes import load_model  # torch takes seconds to import, graft none.

    return load_model(Path(path), allow)
