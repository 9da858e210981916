"""Reads a file of weights without running code from it: its state dicts and what it says of itself."""

import argparse
import json
import math
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm.data
import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from graft.errors import UserError, reason, suggestion
from graft.preprocessing import Preprocessing

StateDict = OrderedDict[str, Tensor]

SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError)
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in timm's order
CONFIG = "config.json"  # which lies beside them
DESCRIPTION = "graft"  # the key of what Graft adds to a checkpoint: see graft.models.checkpoints
MOST_NAMED = 8  # entries of a file that an error lists


def is_path(weights: str) -> bool:
    """Return whether `model.weights` names a file rather than an entry of the library's list."""
    return "/" in weights or "\\" in weights or Path(weights).suffix in SUFFIXES


def existing_file(path: Path) -> Path:
    path = path.expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"model.weights: {path} is a folder; write the path of the weights file.")
    siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(
        f"model.weights: there is no file {path}; write its full path.{suggestion(path.name, siblings)}"
    )


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds; a checkpoint of Graft's also describes its network."""

    path: Path
    state_dicts: dict[str, StateDict]  # by the dotted key under which they lie: "", `state_dict.`
    contents: str  # what lies at the top, for people
    prefix: str | None = None  # model.weights_prefix
    description: dict[str, Any] | None = None  # see `graft.models.checkpoints.describe`
    preprocessing: Preprocessing | None = None  # as the file says it; None where it does not

    @property
    def origin(self) -> str:
        if self.description is not None:
            network = self.description["model"]
            name = f"{network['name']} ({network['source']})"
            return f"checkpoint {self.path.name} of {name}, with its preprocessing"
        own = f", with {CONFIG}'s preprocessing" if self.preprocessing else ""
        return f"file {self.path.name}{own}"

    def key_of(self, prefix: str) -> str:
        """Return the key of the state dict that has the names with this prefix."""
        return max((key for key in self.state_dicts if prefix.startswith(key)), key=len)

    def below(self, prefix: str, but: tuple[str, ...] = ()) -> StateDict:
        """Return the entries below a prefix, without it, and without those below the prefixes `but`."""
        key = self.key_of(prefix)
        whole, inner = self.state_dicts[key], prefix.removeprefix(key)
        names = [n for n in whole if n.startswith(inner) and not f"{key}{n}".startswith(but)]
        state = OrderedDict((name, whole[name]) for name in names)
        if hasattr(whole, "_metadata"):
            state._metadata = OrderedDict(whole._metadata)  # type: ignore[attr-defined]
        consume_prefix_in_state_dict_if_present(state, inner)
        return state

    def largest(self) -> StateDict:
        return max(self.state_dicts.values(), key=len)


def read_weights(path: Path, prefix: str | None = None) -> WeightsFile:
    """Return what a .safetensors file or one that torch.save wrote holds, on the CPU.

    Raises UserError where the file is damaged, holds no tensors, or would have to run code.
    """
    try:
        content = read_content(path)
    except ValueError as error:
        raise UserError(
            f"model.weights: {path} is damaged or no weights file ({error}); "
            "download it again, or delete it if it was downloaded."
        ) from error
    description = content.get(DESCRIPTION) if isinstance(content, Mapping) else None
    if description is not None:
        # Beside it lie the raw weights of an average and the optimizer's state.
        content = {"state_dict": content["state_dict"]}
    states = dict(state_dicts(content))
    if not states:
        raise UserError(
            f"model.weights: {path} holds no state dict (names and tensors); {summary(content)}; "
            "save one as torch.save(network.state_dict(), PATH)."
        )
    preprocessing = preprocessing_of(path, description)
    return WeightsFile(path, states, summary(content), prefix, description, preprocessing)


def preprocessing_of(path: Path, description: dict[str, Any] | None) -> Preprocessing | None:
    """Return the preprocessing in a checkpoint of Graft's, or in the file beside a download of the hub."""
    if description is not None:
        return Preprocessing.from_dict(description["preprocessing"])
    config = path.with_name(CONFIG)
    if path.name not in HUB_FILES or not config.is_file():
        return None
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        return timm_preprocessing(timm.data.resolve_data_config(pretrained_cfg=content["pretrained_cfg"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # Other libraries of the hub have a file of this name, too.


def timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    _, height, width = config["input_size"]
    sides = (height, width) if config["crop_mode"] == "squash" else (min(height, width),)
    return Preprocessing(
        resize=tuple(math.floor(side / config["crop_pct"]) for side in sides),
        crop=(height, width),
        interpolation=config["interpolation"],
        antialias=True,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def read_content(path: Path) -> Any:
    """Return a file's content on the CPU, without running its code; ValueError with the reason."""
    try:
        if path.suffix == ".safetensors":
            return OrderedDict(safetensors.torch.load_file(path))
        # Training scripts, torchvision's and timm's among them, keep their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error):  # torch's own words advise to run its code.
            raise ValueError(
                "it holds Python objects, which could run code: save torch.save(network.state_dict(), PATH)"
            ) from error
        raise ValueError("neither written by torch.save nor .safetensors") from error
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise ValueError(reason(error)) from error


def state_dicts(content: Any, key: str = "") -> Iterator[tuple[str, StateDict]]:
    """Yield every mapping of names to tensors in `content`, with the dotted key under which it lies."""
    if not isinstance(content, Mapping):
        return
    state = OrderedDict((str(name), value) for name, value in content.items() if isinstance(value, Tensor))
    if state:
        # Layers whose parameters were renamed in a later version recognise old files by this.
        if hasattr(content, "_metadata"):
            state._metadata = content._metadata  # type: ignore[attr-defined]
        yield key, state
    for name, value in content.items():
        yield from state_dicts(value, f"{key}{name}.")


def summary(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"it holds one {type(content).__name__}"
    parts = []
    for key, value in content.items():
        inside = sum(len(state) for _, state in state_dicts(value))
        count = f" ({inside} tensor{'s' if inside > 1 else ''})" if inside else ""
        parts.append(f"{key}{count}")
    more = f" and {len(parts) - MOST_NAMED} more" if len(parts) > MOST_NAMED else ""
    return f"it holds {', '.join(parts[:MOST_NAMED]) or 'nothing'}{more}"
