"""Files with several sets of weights, under any key; and the preprocessing of Graft's own checkpoints."""

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from graft.errors import UserError
from graft.models.backbones import Backbone, build_backbone, build_head
from graft.models.checkpoints import DESCRIPTION, WEIGHTS_PREFIX, describe
from graft.models.classifier import Classifier
from graft.preprocessing import Preprocessing

NAME = "test_efficientnet"
State = dict[str, Tensor]
Save = Callable[[Any], Path]


@pytest.fixture(scope="module")
def states() -> tuple[State, State]:
    """Two sets of random weights of one network."""
    return timm.create_model(NAME).state_dict(), timm.create_model(NAME).state_dict()


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "mine.pth")
        return tmp_path / "mine.pth"

    return save


def build(path: Path, **settings: Any) -> Backbone:
    return build_backbone("timm", NAME, str(path), **settings)


def refusal(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        build(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_loaded(backbone: Backbone, state: State) -> None:
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, state[key]), key


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def headless(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("classifier.")}


PAIRS = [
    ("student", "teacher"),
    ("module.encoder_q", "module.encoder_k"),
    ("model", "model_ema"),
    ("teacher.backbone", "student.module.backbone"),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_two_prefixes_that_fit_equally_well_are_named_with_the_setting_that_chooses(
    pair: tuple[str, str], states: tuple[State, State], save: Save
) -> None:
    first, second = (prefixed(f"{prefix}.", state) for prefix, state in zip(pair, states, strict=True))
    message = refusal(save(first | second))

    for prefix in pair:
        assert prefix in message
    assert message.count("model.weights_prefix=") == 2
    for prefix, state in zip(pair, states, strict=True):
        assert_loaded(build(save(first | second), weights_prefix=prefix), state)


@pytest.mark.parametrize("keys", [("student", "teacher"), ("model", "model_ema"), ("state_dict", "ema")])
def test_two_keys_whose_weights_fit_equally_well_are_named(
    keys: tuple[str, str], states: tuple[State, State], save: Save
) -> None:
    path = save(dict(zip(keys, states, strict=True)) | {"epoch": 3})

    message = refusal(path)

    assert f"model.weights_prefix={keys[0]} or model.weights_prefix={keys[1]}" in message
    assert_loaded(build(path, weights_prefix=keys[0]), states[0])
    assert_loaded(build(path, weights_prefix=keys[1]), states[1])


def test_the_parts_of_two_prefixes_that_differ_are_what_one_writes(
    states: tuple[State, State], save: Save
) -> None:
    path = save({"state_dict": prefixed("student.net.", states[0]) | prefixed("teacher.net.", states[1])})

    assert "model.weights_prefix=student or model.weights_prefix=teacher" in refusal(path)
    assert_loaded(build(path, weights_prefix="teacher"), states[1])
    assert_loaded(build(path, weights_prefix="state_dict.teacher.net"), states[1])


def test_an_empty_prefix_chooses_what_has_none(states: tuple[State, State], save: Save) -> None:
    path = save(states[0] | prefixed("ema.", states[1]))

    assert "model.weights_prefix= or model.weights_prefix=ema" in refusal(path)
    assert_loaded(build(path, weights_prefix=""), states[0])


def test_another_head_does_not_decide_between_two_prefixes(states: tuple[State, State], save: Save) -> None:
    assert "equally well" in refusal(
        save(prefixed("student.", states[0]) | prefixed("teacher.", headless(states[1])))
    )


def test_the_prefix_with_the_networks_shapes_is_taken(states: tuple[State, State], save: Save) -> None:
    wide = {key: torch.cat([value, value]) if value.ndim else value for key, value in states[0].items()}
    path = save(prefixed("teacher.", wide) | prefixed("student.", states[1]))

    assert_loaded(build(path), states[1])


def test_equal_weights_under_two_names_need_no_choice(states: tuple[State, State], save: Save) -> None:
    assert_loaded(build(save(states[0] | prefixed("model.net.", states[0]))), states[0])


def test_a_prefix_that_the_file_lacks_is_refused_with_what_it_holds(
    states: tuple[State, State], save: Save
) -> None:
    message = refusal(save({"teacher": states[0], "epoch": 3}), weights_prefix="techer")

    assert "model.weights_prefix=techer" in message
    assert "teacher (" in message
    assert "epoch" in message


def test_a_prefix_without_a_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.weights_prefix=teacher .* model\.weights=null"):
        build_backbone("timm", NAME, None, weights_prefix="teacher")


KEYS = """
state_dict model_state_dict model model_state ema net network module params weights backbone encoder
state_dict_ema model_ema params_ema checkpoint.model student
""".split()  # noqa: SIM905


@pytest.mark.parametrize("key", KEYS)
def test_weights_under_any_key_are_found_beside_an_optimizers(
    key: str, states: tuple[State, State], save: Save
) -> None:
    moments = {n: {"step": torch.ones(()), "exp_avg": torch.zeros(3)} for n in range(5)}
    content: Any = states[0]
    for part in reversed(key.split(".")):
        content = {part: content}
    others = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "optimizer_state_dict": {"state": moments, "param_groups": [{"lr": 0.1}]},
    }

    assert_loaded(build(save(others | content)), states[0])
    assert_loaded(build(save(others | {"a": content})), states[0])


def test_a_file_that_fits_nowhere_is_refused_with_what_it_holds(save: Save) -> None:
    path = save({"model_state_dict": {"fc1.weight": torch.ones(2, 2)}, "optimizer": {}, "loss": 0.5})

    message = refusal(path)

    assert f"does not fit {NAME}" in message
    assert "it holds model_state_dict (1 tensor), optimizer, loss" in message
    assert "holds epoch, loss" in refusal(save({"epoch": 3, "loss": 0.5}))


STRANGE = Preprocessing(
    resize=(70,),
    crop=(64, 64),
    interpolation="nearest",
    antialias=False,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
)


def checkpoint_of(backbone: Backbone, path: Path, preprocessing: Preprocessing = STRANGE) -> Path:
    """Write what a run writes of a network with a head of three classes."""
    head: dict[str, Any] = {"dropout": 0.0, "hidden": None}
    classifier = Classifier(backbone, build_head(backbone, 3, **head))
    torch.save(
        {
            DESCRIPTION: describe(backbone, head, {"columns": ["a", "b", "c"]}, preprocessing),
            "state_dict": prefixed(WEIGHTS_PREFIX, classifier.state_dict()),
            "raw_state_dict": prefixed(WEIGHTS_PREFIX, timm.create_model(NAME).state_dict()),
        },
        path,
    )
    return path


@pytest.mark.parametrize(
    ("source", "name"), [("timm", NAME), ("torchvision", "squeezenet1_1"), ("packaged", "efficientnet_lite0")]
)
def test_a_checkpoints_own_preprocessing_is_used_and_said(source: str, name: str, tmp_path: Path) -> None:
    trained = build_backbone(source, name, None)
    path = checkpoint_of(trained, tmp_path / "best.ckpt")

    backbone = build_backbone(source, name, str(path))

    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, trained.network.state_dict()[key])
    assert backbone.preprocessing == STRANGE
    assert backbone.weights == f"checkpoint best.ckpt of {name} ({source}), with its preprocessing"


def test_a_checkpoint_keeps_the_options_of_its_network(tmp_path: Path) -> None:
    trained = build_backbone("timm", "test_vit", None, {"img_size": 64})
    path = checkpoint_of(trained, tmp_path / "best.ckpt")

    backbone = build_backbone("timm", "test_vit", str(path))

    assert backbone.options == {"img_size": 64}
    assert torch.equal(
        backbone.network.get_parameter("pos_embed"), trained.network.get_parameter("pos_embed")
    )


def test_a_checkpoint_of_one_size_is_taken_for_images_of_another(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    trained = build_backbone("timm", name, None, {"img_size": 64})
    path = checkpoint_of(trained, tmp_path / "best.ckpt")

    backbone = build_backbone("timm", name, str(path), image_size=96)

    assert backbone.options == {"img_size": 96}
    assert backbone.network.get_parameter("pos_embed").shape == (1, 37, 192)


def test_a_download_from_timms_hub_has_the_preprocessing_of_its_config(
    states: tuple[State, State], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(states[0], path)
    config = timm.get_pretrained_cfg(NAME).to_dict() | {"mean": [0.1, 0.2, 0.3], "interpolation": "nearest"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": config}), encoding="utf-8")

    backbone = build(path)

    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert backbone.preprocessing.interpolation == "nearest"
    assert backbone.weights == "file model.safetensors, with config.json's preprocessing"
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    assert build(path).preprocessing == build_backbone("timm", NAME, None).preprocessing


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    path = checkpoint_of(build_backbone("timm", NAME, None), tmp_path / "best.ckpt")

    with pytest.raises(UserError, match=rf"does not fit squeezenet1_1: .*of {NAME} \(timm\)"):
        build_backbone("torchvision", "squeezenet1_1", str(path))


def test_weights_without_a_description_have_the_preprocessing_of_the_name(
    states: tuple[State, State], save: Save
) -> None:
    expected = build_backbone("timm", NAME, None).preprocessing

    assert build(save(OrderedDict(states[0]))).preprocessing == expected
