"""timm's networks, with the weights and preprocessing of their pretrained configurations."""

import logging
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import timm.data
import timm.models
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars
from torch import nn

from graft.errors import UserError, reason
from graft.models.backbones.downloads import OFFLINE_CHOICE, TIMEOUT, download
from graft.models.backbones.network import BuiltNetwork, is_below, unknown_name, unknown_weights
from graft.models.backbones.weights import load_file
from graft.models.backbones.weights_file import (
    DAMAGED,
    HUB_FILES,
    StateDict,
    WeightsFile,
    read_weights,
    timm_preprocessing,
)

log = logging.getLogger(__name__)


def names() -> list[str]:
    architectures: list[str] = timm.list_models()
    return architectures


def has(name: str) -> bool:
    return name.partition(".")[0] in names()


def entries() -> Iterator[dict[str, Any]]:
    for name in names():
        if config := timm.get_pretrained_cfg(name):
            tag = (config.tag or "default") if config.has_weights else "null"
            yield {"name": name, "weights": tag, "pixels": pixels(name)}


def pixels(name: str) -> int:
    height: int = timm.get_pretrained_cfg(name).input_size[1]
    return height


def build(name: str, weights: str | WeightsFile | None, options: dict[str, Any]) -> BuiltNetwork:
    """Build a network with the weights of a tag (`default`: the first), a file's, or random ones.

    `name` is an architecture (`resnet50`) or one with a tag (`resnet50.a1_in1k`).
    """
    name = name_with_tag(name, weights if isinstance(weights, str) else "default")
    if not isinstance(weights, str):
        built = describe(construct(name, options), name, options, "random")
        return built if weights is None else load_file(built, weights, load_converted)
    network = construct(name, options, state_dict=read_weights(fetch(name)).largest())
    tag = timm.get_pretrained_cfg(name).tag or "default"
    return replace(describe(network, name, options, f"{tag} (timm)"), is_pretrained=True)


def size_option(name: str, size: int) -> dict[str, Any] | None:
    del name
    return {"img_size": size}


def name_with_tag(name: str, weights: str) -> str:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name(architecture, "timm", names())
    tags = [n.partition(".")[2] for n in timm.models.get_arch_pretrained_cfgs(architecture)]
    if weights != "default":
        if tag and tag != weights:
            raise UserError(f"model.name={name} and model.weights={weights} differ: write one tag only.")
        tag = weights
    if tag and tag not in tags:
        raise unknown_weights(architecture, tag, tags)
    return f"{architecture}.{tag}" if tag else architecture


def construct(name: str, options: dict[str, Any], **pretrained: Any) -> nn.Module:
    """Return timm's network; `state_dict` gives it weights, which timm itself converts."""
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
    size = {"img_size": options["img_size"]} if isinstance(options.get("img_size"), int) else {}
    layers = network.get_classifier()  # type: ignore[operator]
    wanted = layers if isinstance(layers, tuple) else (layers,)
    return BuiltNetwork(
        network=network,
        name=name,
        options=options,
        weights=weights,
        preprocessing=timm_preprocessing(timm.data.resolve_data_config(size, model=network)),
        remove_classifier=remove_classifier,
        classifiers=tuple(n for n, m in network.named_modules() if any(m is w for w in wanted)),
    )


def remove_classifier(built: BuiltNetwork) -> tuple[nn.Module, int]:
    network: Any = built.network
    network.reset_classifier(0)
    # Some heads have a hidden layer, whose width is what the classifier gets.
    return network, int(getattr(network, "head_hidden_size", None) or network.num_features)


def load_converted(built: BuiltNetwork, state: StateDict) -> bool:
    backbone = OrderedDict((k, v) for k, v in state.items() if not is_below(k, built.classifiers))
    options = built.options | {"num_classes": 0}
    try:
        converted = construct(built.name, options, state_dict=backbone, num_classes=0)
    except UserError:
        return False
    built.network.load_state_dict(converted.state_dict(), strict=False)
    return True


def fetch(name: str) -> Path:
    """Return the file of a pretrained configuration, from a cache or downloaded."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(
            f"model.weights: timm has no weights for {name}; "
            "write the path or URL of a file, or null for random weights."
        )
    if not config.hf_hub_id:
        return download(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in HUB_FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    return download_from_hub(repository, revision or None)


def download_from_hub(repository: str, revision: str | None) -> Path:
    if not sys.stderr.isatty():
        disable_progress_bars()
    addresses = {f: huggingface_hub.hf_hub_url(repository, f, revision=revision) for f in HUB_FILES}
    try:
        file = next((file for file, url in addresses.items() if is_on_hub(url)), HUB_FILES[0])
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except Exception as error:
        # The hub's client and its transport raise many unrelated types.
        raise UserError(
            f"{addresses[HUB_FILES[0]]} could not be downloaded ({reason(error)}); fetch it elsewhere "
            f"and write model.weights=PATH with the file, or copy the hub's cache to "
            f"{huggingface_hub.constants.HF_HUB_CACHE}; {OFFLINE_CHOICE}."
        ) from error


def is_on_hub(url: str) -> bool:
    """Return whether the hub has the file; raise at once where `hf_hub_download` would try for a minute."""
    try:
        huggingface_hub.get_hf_file_metadata(url, timeout=TIMEOUT)
    except EntryNotFoundError:
        return False
    return True
