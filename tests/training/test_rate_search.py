"""`learning_rate=auto` finds a rate, and leaves no other trace."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from graft.data.labelled_images import read_labelled_images
from graft.data.module import ImageDataModule
from graft.models.freezing import Phase
from graft.training.building import (
    build_classifier,
    build_data,
    build_loss,
    build_module,
    build_task,
    plan_phases,
)
from graft.training.module import Position, TransferModule
from graft.training.rate_search import RATES, Curve, draw, fastest_fall, range_test
from graft.training.trainer import build_trainer
from tests.conftest import MakeConfig
from tests.conftest import trained as train

CPU = torch.device("cpu")


def prepared(config: Any) -> tuple[TransferModule, ImageDataModule, Phase]:
    torch.manual_seed(0)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    images = read_labelled_images(settings["data"], build_task(settings["task"]))
    classifier = build_classifier(settings, images)
    data, loss = build_data(settings, images, classifier), build_loss(settings, images)
    (phase,) = plan_phases(settings, classifier, loss)
    module = build_module(settings, build_trainer(settings), data, classifier, loss, [phase])
    module.begin(Position())
    return module, data, phase


def test_the_range_test_leaves_everything_as_it_was(make_config: MakeConfig) -> None:
    module, data, _ = prepared(make_config("freeze=false", "+model.options.drop_rate=0.5"))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    learns = [p.requires_grad for p in module.parameters()]
    modes = [part.training for part in module.modules()]
    chance = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    curve = range_test(module, data, CPU)
    assert len(curve.losses) > 20
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == learns
    assert [part.training for part in module.modules()] == modes
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), chance[0])
    assert repr(np.random.get_state()) == chance[1]
    assert random.getstate() == chance[2]


def test_all_groups_rise_together_and_keep_their_ratios(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data, _ = prepared(make_config("freeze=false", "finetuning.layer_decay=0.5"))
    made: list[torch.optim.Optimizer] = []
    seen: list[list[float]] = []
    make = module.make_optimizer

    def watched(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        made.append(make(groups))
        step = made[-1].step

        def noted(*arguments: Any, **named: Any) -> Any:
            seen.append([group["lr"] for group in made[-1].param_groups])
            return step(*arguments, **named)

        monkeypatch.setattr(made[-1], "step", noted)
        return made[-1]

    module.make_optimizer = watched
    range_test(module, data, CPU)
    rates = np.array(seen)
    assert len(set(rates[0])) > 2
    assert np.allclose(rates / rates[:, :1], rates[0] / rates[0, 0])
    assert np.allclose(rates.max(axis=1), RATES[: len(rates)])


@pytest.mark.parametrize("steepest", [1e-3, 1e-1])
def test_the_rate_is_where_the_loss_falls_fastest(steepest: float) -> None:
    place = np.log10(np.array(RATES) / steepest)
    losses = 1 - 0.8 / (1 + np.exp(-4 * place)) + np.where(place > 1.2, 5 * (place - 1.2) ** 2, 0)
    noise = np.random.default_rng(0).normal(0, 0.01, len(RATES))
    assert fastest_fall(Curve(RATES, (losses + noise).tolist())) == pytest.approx(steepest, rel=0.5)


def test_a_loss_that_falls_nowhere_gives_no_rate() -> None:
    noise = np.random.default_rng(0).normal(0.7, 0.05, len(RATES))
    assert fastest_fall(Curve(RATES, noise.tolist())) is None


def test_a_run_with_the_found_rate_is_the_run_with_that_number_typed(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    found = train(make_config("learning_rate=auto", run="auto", board=True))
    last = torch.load(tmp_path / "auto" / "checkpoints" / "last.ckpt", weights_only=True)
    rate = last["graft"]["learning_rate"]
    typed = train(make_config(f"learning_rate={rate}", run="typed"))
    assert found | {"seconds": 0} == typed | {"seconds": 0}
    first = torch.load(tmp_path / "typed" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(last["state_dict"][name], tensor) for name, tensor in first["state_dict"].items())
    with Image.open(tmp_path / "auto" / "learning_rate.png") as image:
        assert image.width >= 800
    events = EventAccumulator(str(tmp_path / "auto" / "tensorboard"))
    events.Reload()
    assert "while training/range test" in events.Tags()["images"]


def test_a_resumed_run_keeps_the_found_rate(make_config: MakeConfig, tmp_path: Path) -> None:
    keep = [
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        "+callbacks.keep.folder=${paths.run}/checkpoints",
    ]
    whole = train(make_config("learning_rate=auto", *keep, run="whole"))
    first = tmp_path / "whole" / "checkpoints" / "epoch1.ckpt"
    resumed = train(make_config("learning_rate=auto", *keep, f"resume={first}", run="resumed"))
    assert not (tmp_path / "resumed" / "learning_rate.png").exists()
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


def test_the_curve_is_drawn_without_a_rate_too() -> None:
    figure = draw(Curve(RATES, [0.7] * len(RATES)), None)
    assert "learning rate" in figure.axes[0].get_xlabel()
