"""timm's networks, with the weights and preprocessing of their pretrained configurations."""

import logging
import sys
from collections import OrderedDict
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import huggingface_hub
import timm
import timm.data
import timm.models
from huggingface_hub.utils.tqdm import disable_progress_bars
from torch import nn

from graft.errors import UserError, suggestion
from graft.models.backbones.downloads import OFFLINE_CHOICE, TIMEOUT, download, reason
from graft.models.backbones.network import BuiltNetwork, is_below
from graft.models.backbones.timm_preprocessing import timm_preprocessing
from graft.models.backbones.weights import load_file, loaded_from, refuse_difference
from graft.models.backbones.weights_file import DAMAGED, HUB_FILES, StateDict, WeightsFile, read_weights
from graft.preprocessing import Preprocessing

log = logging.getLogger(__name__)


def names() -> list[str]:
    """Return the names of all architectures, without the tags of their weights."""
    found: list[str] = timm.list_models()
    return found


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build a network with the weights of a tag (`default`: the first), a file's, or random ones.

    `name` is an architecture (`resnet50`) or one with a tag (`resnet50.a1_in1k`).
    Raises UserError for an unknown name or tag, options that do not fit, a file that does not fit
    or is damaged, and a failed download.
    """
    name = name_with_tag(name, weights if isinstance(weights, str) else "default")
    if not isinstance(weights, str):
        network = construct(name, options)
        built = describe(network, name, options, "random")
        if weights is None:
            return built
        state, difference = load_file(built, weights)
        if difference and not load_converted(built, state):
            refuse_difference(difference, weights, name)
        elif difference:
            log.info("%s: timm has converted its entries (%s)", weights.path, difference)
        return loaded_from(weights, built)
    network = construct(name, options, **own_weights(name))
    tag = timm.get_pretrained_cfg(name).tag or "default"
    return replace(describe(network, name, options, f"{tag} (timm)"), is_pretrained=True)


def size_option(name: str, size: int) -> dict[str, Any] | None:
    """Return the option for images of another size, which networks of one fixed size have."""
    del name
    return {"img_size": size}


def name_with_tag(name: str, weights: str) -> str:
    """Return the architecture with the tag that the name or `model.weights` asks for, if any."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UserError(
            f"model.name={name}: timm has no such network.{suggestion(architecture, names())} "
            "python scripts/models.py lists all."
        )
    tags = [n.partition(".")[2] for n in timm.models.get_arch_pretrained_cfgs(architecture)]
    if weights != "default":
        if tag and tag != weights:
            raise UserError(f"model.name={name} and model.weights={weights} differ: write one tag only.")
        tag = weights
    if tag and tag not in tags:
        raise UserError(
            f"model.weights={tag}: timm's {architecture} has {', '.join(filter(None, tags))}."
            f"{suggestion(tag, tags)} "
            "Or write default, the path or URL of a file, or null for random weights."
        )
    return f"{architecture}.{tag}" if tag else architecture


def construct(name: str, options: dict[str, Any], **pretrained: Any) -> nn.Module:
    """Return timm's network; `file` or `state_dict` give it weights, which timm itself converts."""
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=bool(pretrained), pretrained_cfg_overlay=pretrained or None, **options
        )
    except (*DAMAGED, AssertionError, AttributeError, ArithmeticError) as error:
        asked = f"model.options={options} does not fit" if options else "the weights do not fit"
        raise UserError(f"{asked} {name} of timm: {reason(error)}.") from error
    network.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return network


def describe(network: nn.Module, name: str, options: dict[str, Any], weights: str) -> BuiltNetwork:
    """Return the network with the names of its classification layers and its preprocessing."""
    layers = network.get_classifier()  # type: ignore[operator]
    wanted = layers if isinstance(layers, tuple) else (layers,)
    return BuiltNetwork(
        network=network,
        name=name,
        options=options,
        weights=weights,
        preprocessing=preprocessing(network, options),
        classifiers=tuple(n for n, m in network.named_modules() if any(m is w for w in wanted)),
    )


def load_converted(built: BuiltNetwork, state: StateDict) -> bool:
    """Load a file of the authors' own format or of another image size, if timm knows how to convert it."""
    backbone = OrderedDict(
        (key, value) for key, value in state.items() if not is_below(key, built.classifiers)
    )
    options = built.options | {"num_classes": 0}
    try:
        converted = construct(built.name, options, state_dict=backbone, num_classes=0)
    except UserError:
        return False
    built.network.load_state_dict(converted.state_dict(), strict=False)
    return True


def own_weights(name: str) -> dict[str, Any]:
    """Return what gives `construct` the weights of a pretrained configuration."""
    file = fetch(name)
    # A few old files are NumPy archives, which only the network's own class can read.
    if timm.get_pretrained_cfg(name).custom_load:
        return {"file": str(file)}
    return {"state_dict": read_weights(file).largest()}


def fetch(name: str) -> Path:
    """Return the file of a pretrained configuration, from a cache or downloaded.

    timm's own download would try for most of a minute where there is no network.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(
            f"model.weights: timm has no weights for {name}; "
            "write the path or URL of a file, or null for random weights."
        )
    if not config.hf_hub_id:
        return download(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    files = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    return download_from_hub(repository, revision or None, files)


def download_from_hub(repository: str, revision: str | None, files: tuple[str, ...]) -> Path:
    """Return the first of `files` that a repository on the Hugging Face hub has."""
    if not sys.stderr.isatty():
        disable_progress_bars()
    addresses = {f: huggingface_hub.hf_hub_url(repository, f, revision=revision) for f in files}
    try:
        file = next((f for f, url in addresses.items() if is_on_hub(url)), files[0])
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except Exception as error:
        # The hub's client and its transport raise many unrelated types.
        raise UserError(
            f"{addresses[files[0]]} could not be downloaded ({reason(error)}); fetch it elsewhere "
            f"and write model.weights=PATH with the file, or copy the hub's cache to "
            f"{huggingface_hub.constants.HF_HUB_CACHE}; {OFFLINE_CHOICE}."
        ) from error


def is_on_hub(url: str) -> bool:
    """Return whether the hub has the file; raise OSError if there is no answer.

    Without this the hub's own client would try again and again for most of a minute.
    """
    try:
        with urlopen(Request(url, method="HEAD"), timeout=TIMEOUT):
            return True
    except HTTPError as error:
        return error.code != HTTPStatus.NOT_FOUND


def preprocessing(network: nn.Module, options: dict[str, Any]) -> Preprocessing:
    """Return the evaluation preprocessing of the network's pretrained configuration."""
    size = {"img_size": options["img_size"]} if isinstance(options.get("img_size"), int) else {}
    config = timm.data.resolve_data_config(size, model=network)
    return timm_preprocessing(config)
