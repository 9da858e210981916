"""Graft: fine-tune a pretrained image model on your own images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import UserError

if TYPE_CHECKING:
    from graft.cli.command import FinishedRun
    from graft.inference.model import Model

__version__ = "0.1.0"
__all__ = ["UserError", "load", "train"]


def train(*settings: str) -> "FinishedRun":
    """Train as the command `train.py` does, with the same settings, and return the finished run.

    `train("data.root=photos", "freeze=2").metrics["test/accuracy"]` is the share of correct test images;
    `folder` and `checkpoint` say where everything lies. Raises UserError for what the command would refuse.
    """
    from graft.cli.command import train_once  # torch takes seconds to import, graft none.

    return train_once(settings, Path(__file__).resolve().parents[2])


def load(path: str | Path, allow: Sequence[str] = ()) -> "Model":
    """Return a trained model, ready to predict: of a run's folder, a checkpoint, or an exported file.

    `load("logs/photos").predict(["a.jpg"])[0].label` is the class of an image. A checkpoint runs on the GPU
    where there is one. `allow` names packages that the file may import besides Graft's own. Raises UserError
    where the file is missing, damaged or not a model of Graft's.
    """
    from graft.cli.command import checkpoint_of
    from graft.inference.runtimes import load_model

    file = Path(path).expanduser()
    return load_model(checkpoint_of(file, "best") if file.is_dir() else file, allow)
