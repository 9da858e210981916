"""Weights from a file or a URL: read without running code, fitted to a network or refused."""

import logging
import pickle
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from graft.errors import UserError, suggestion

log = logging.getLogger(__name__)

ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)


def is_file_or_url(weights: str) -> bool:
    """Return whether `model.weights` names a file or an address rather than a source's own name."""
    return "/" in weights or "\\" in weights or weights.lower().endswith(ENDINGS)


def read_weights(weights: str) -> dict[str, Tensor]:
    """Return the state dict of a file or URL, on the CPU.

    Raises UserError where there is no such file, the download fails, or it holds no weights.
    """
    is_url = urlparse(weights).scheme in ("http", "https", "file")
    path = download(weights) if is_url else Path(weights).expanduser()
    if not path.is_file():
        near = suggestion(path.name, [f.name for f in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise UserError(f"model.weights={weights}: there is no such file.{near}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # safetensors raises its own type; whatever a reader says, the file is what is wrong.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"model.weights={weights}: {path} is no weights file ({reason}).") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(f"model.weights={weights}: {path} holds no weights (no tensor by name).")
    return tensors


def download(url: str) -> Path:
    """Return the file of a URL in torch's cache folder, downloaded if it is not there yet."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(url).path).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
        except (OSError, RuntimeError) as error:
            raise failed_download(url, str(error), path) from error
    return path


def failed_download(url: str, reason: str, path: Path | None = None) -> UserError:
    """Return the error that says how to get on without the download."""
    copy = f"put a copy into {path.parent} as {path.name}, or " if path else "get a copy and "
    return UserError(
        f"cannot download {url} ({reason}): {copy}write model.weights=PATH, "
        "or use model=efficientnet_lite0, which needs no download."
    )


def fit_weights(network: nn.Module, weights: dict[str, Tensor], head: str, origin: str) -> None:
    """Load a state dict into `network`, all but the layer `head`, which is replaced anyway.

    A common prefix of the keys (`module.`, `model.`) is dropped. Raises UserError where the
    backbone does not fit: how many keys are missing, unexpected or wrongly shaped, and the first.
    """
    own = network.state_dict()
    prefix = common_prefix(weights, next(iter(own)))
    found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    left_out = [k for k in weights if not k.startswith(prefix)]
    for key in [k for k in found if k.startswith(f"{head}.")]:
        if key not in own or own[key].shape != found[key].shape:
            left_out.append(key)
        del found[key]
    needed = {k for k in own if not k.startswith(f"{head}.")}
    problems = {
        "missing": [k for k in own if k in needed - found.keys() and not k.endswith("num_batches_tracked")],
        "unexpected": [k for k in found if k not in needed],
        "wrongly shaped": [k for k in found if k in needed and found[k].shape != own[k].shape],
    }
    if any(problems.values()):
        counted = "; ".join(f"{len(k)} keys {kind} (first: {k[0]})" for kind, k in problems.items() if k)
        raise UserError(f"model.weights={origin} does not fit {type(network).__name__}: {counted}.")
    if left_out:
        log.info("weights    %s: its head is left out (%s)", origin, ", ".join(left_out[:3]))
    network.load_state_dict(found, strict=False)


def common_prefix(weights: dict[str, Tensor], first: str) -> str:
    """Return what stands before the network's first key in the file, empty where nothing does."""
    if first in weights:
        return ""
    return next((key[: -len(first)] for key in weights if key.endswith(f".{first}")), "")
