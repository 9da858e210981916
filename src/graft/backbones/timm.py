"""Networks and weights of timm (Wightman 2019)."""

import math
from typing import Any

import timm
from timm.data import resolve_data_config
from timm.models import load_pretrained
from torch import nn

from graft.backbones.backbone import Backbone
from graft.backbones.weights import failed_download, fit_weights, is_file_or_url, read_weights
from graft.errors import UserError, suggestion
from graft.preprocessing import Preprocessing


def build(name: str, weights: str | None, options: dict[str, Any]) -> Backbone:
    """Return a timm network without its classification layer; see `build_backbone`.

    A name other than `default` is a tag of the pretrained weights: `a1_in1k`.
    """
    by_file = weights is not None and is_file_or_url(weights)
    tagged = tag(name, weights) if weights not in (None, "default") and not by_file else name
    network = construct(tagged, options)
    described = "random"
    if by_file:
        assert weights is not None
        fit_weights(network, read_weights(weights), classifier_name(network), weights)
        described = f"file {weights}"
    elif weights is not None:
        load(network, tagged)
        described = f"{network.pretrained_cfg['tag'] or 'default'} of timm"  # type: ignore[index]
    return headless(network, "timm", name, described, options)


def construct(name: str, options: dict[str, Any]) -> nn.Module:
    """Build the whole network with random weights."""
    if not timm.is_model(name):
        base = name.split(".")[0]
        raise UserError(f"model.name={base} is no network of timm.{suggestion(base, timm.list_models())}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
    except TypeError as error:
        raise UserError(f"model.options={options} do not fit {name}: {error}.") from error
    return network


def tag(name: str, weights: str | None) -> str:
    """Return the network's name with the tag of its weights: `resnet18.a1_in1k`."""
    base = name.split(".")[0]
    tags = [full.split(".", 1)[1] for full in timm.list_pretrained(f"{base}.*") if "." in full]
    if weights not in tags:
        raise UserError(
            f"model.weights={weights} is none of {base}'s: {', '.join(tags) or 'no weights'}."
            f"{suggestion(str(weights), tags)} (Or default, a file, a URL, null.)"
        )
    return f"{base}.{weights}"


def load(network: nn.Module, name: str) -> None:
    """Load the pretrained weights, downloaded to the hub's cache folder when they are not there."""
    settings: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    hub = settings.get("hf_hub_id")
    address = f"https://huggingface.co/{hub}" if hub else settings.get("url")
    if not address:
        raise UserError(f"timm has no weights for {name}: write model.weights=PATH or model.weights=null.")
    try:
        load_pretrained(network)
    except Exception as error:
        # The hub's client raises several unrelated types where it cannot connect.
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise failed_download(str(address), reason) from error


def headless(network: nn.Module, source: str, name: str, weights: str, options: dict[str, Any]) -> Backbone:
    """Take the classification layer away by timm's own means."""
    preprocessing = preprocessing_of(network)
    network.reset_classifier(0)  # type: ignore[operator]
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return Backbone(network, int(width), preprocessing, source, name, weights, options)  # type: ignore[arg-type]


def classifier_name(network: nn.Module) -> str:
    """Return the dotted name of the classification layer."""
    named: Any = network.pretrained_cfg["classifier"]  # type: ignore[index]
    return str(named if isinstance(named, str) else named[0])


def preprocessing_of(network: nn.Module) -> Preprocessing:
    """Return the evaluation preprocessing of the network's pretrained weights."""
    settings = resolve_data_config(model=network)
    _, height, width = settings["input_size"]
    share = settings["crop_pct"]
    if settings["crop_mode"] == "squash" or height != width:
        resize: tuple[int, ...] = (math.floor(height / share), math.floor(width / share))
    else:
        resize = (math.floor(height / share),)
    return Preprocessing(
        resize=resize,
        crop=(height, width),
        interpolation=settings["interpolation"],
        antialias=True,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )
