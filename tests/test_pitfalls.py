"""Known pitfalls of fine-tuning that Graft avoids, where no other test shows it; see docs/correctness.md."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from graft.models.backbones import build_backbone, build_head
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase, apply_phase, named_stages
from graft.training import schedulers
from graft.training.callbacks.averaging import ExponentialMovingAverage
from graft.training.module import TransferModule
from graft.training.optimizers import LearningRates, parameter_groups
from tests.conftest import fit_phases, make_module

PROJECT = Path(__file__).resolve().parents[1]
FROZEN = Phase("head", (HEAD,), 2)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    backbone = build_backbone("timm", "test_efficientnet", None)
    return Classifier(backbone, build_head(backbone, 3))


def everything(classifier: Classifier) -> Phase:
    return Phase("everything", tuple(named_stages(classifier)), 2)


def fit(classifier: Classifier, scheduler: Callable[..., Any], *phases: Phase) -> TransferModule:
    """Train two batches an epoch, with a validation after each."""
    module = make_module(classifier, *phases, scheduler=scheduler, rates=LearningRates(0.1, 10))
    batches: Any = [(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])) for _ in range(2)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    fit_phases(module, loader, loader)
    return module


def test_frozen_batchnorm_never_normalises_by_the_batch_with_validations_in_between(
    classifier: Classifier,
) -> None:
    modes: list[bool] = []

    def note(norm: nn.Module, *_: Any) -> None:
        if not torch.is_inference_mode_enabled():
            assert isinstance(norm, nn.BatchNorm2d)
            modes.append(norm.training or not norm.track_running_stats)

    for part in classifier.backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(note)
    fit(classifier, schedulers.constant, FROZEN)
    assert modes
    assert not any(modes)


def test_held_norms_are_in_no_group_and_every_trainable_tensor_is_in_one(classifier: Classifier) -> None:
    apply_phase(classifier, everything(classifier), norm="frozen")
    grouped = [id(p) for group in parameter_groups(classifier, LearningRates(0.1)) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in classifier.parameters() if p.requires_grad)
    norms = [m for m in classifier.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not {id(p) for norm in norms for p in norm.parameters()} & set(grouped)


def test_a_gradient_from_the_phase_before_is_gone_from_what_is_frozen(classifier: Classifier) -> None:
    apply_phase(classifier, everything(classifier))
    classifier(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in classifier.backbone.parameters())
    apply_phase(classifier, FROZEN)
    assert all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize(
    "scheduler",
    [
        schedulers.constant,
        partial(schedulers.step, step_size=1, gamma=0.5),
        partial(schedulers.cosine, warmup=0.1),
        partial(schedulers.one_cycle, warmup=0.3),
        schedulers.bit_hyperrule,
        partial(schedulers.plateau, factor=0.5, patience=0),
    ],
)
def test_every_schedule_takes_the_groups_that_an_unfreezing_adds(
    classifier: Classifier, scheduler: Callable[..., Any]
) -> None:
    before = [p.detach().clone() for p in classifier.backbone.parameters()]
    module = fit(classifier, scheduler, FROZEN, everything(classifier))
    after = list(classifier.backbone.parameters())
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    optimizer = cast(torch.optim.Optimizer, module.optimizers(use_pl_optimizer=False))
    rates = module.lr_schedulers().get_last_lr()  # type: ignore[union-attr]
    assert len(rates) == len(optimizer.param_groups) == 4  # backbone and head; weights, norms and biases


def test_the_average_of_a_short_run_has_forgotten_the_first_weights() -> None:
    average = ExponentialMovingAverage(decay=0.999)
    module, trainer = nn.Linear(1, 1, bias=False), SimpleNamespace(global_step=0)
    nn.init.zeros_(module.weight)
    average.on_fit_start(trainer, module)  # type: ignore[arg-type]
    nn.init.ones_(module.weight)
    for step in range(1, 301):
        trainer.global_step = step
        average.on_train_batch_end(trainer, module)  # type: ignore[arg-type]
    found: Tensor = average.average["weight"]
    assert found.item() > 0.99  # 0.26 with the decay as it is


def test_every_test_that_the_page_on_correctness_names_is_there() -> None:
    page = (PROJECT / "docs" / "correctness.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", page)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (PROJECT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"
