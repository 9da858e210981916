"""Where a page comes from: when, and with which versions."""

import platform
from datetime import datetime
from importlib.metadata import version

import torch

import graft

LIBRARIES = ("torchvision", "lightning", "timm")


def now() -> str:
    """Return the date and the time of day."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")


def versions() -> dict[str, str]:
    """Return the versions of Python, of Graft and of the libraries that decide about results."""
    libraries = {name: version(name) for name in LIBRARIES}
    # torch's own says for which CUDA it was built.
    own = {"graft": graft.__version__, "python": platform.python_version(), "torch": torch.__version__}
    return {**own, **libraries}
