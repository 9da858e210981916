"""What is frozen stays as it is to the last bit; what learns changes, each tensor in one group."""

from typing import Any

import pytest
import torch
from torch import nn

from graft.errors import UserError
from graft.models.backbones import build_backbone, build_head
from graft.models.backbones.stages import stages
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, apply_phase, hold_frozen, named_stages, standard
from graft.models.schedules import gradual, lp_ft, refuse_held_patterns, select
from graft.training.module import TransferModule
from graft.training.optimizers import LearningRates, parameter_groups
from tests.conftest import fit_phases, make_module


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    options = {"drop_rate": 0.2, "drop_path_rate": 0.2}
    backbone = build_backbone("timm", "test_efficientnet", None, options)
    return Classifier(backbone, build_head(backbone, 3))


def fit(classifier: Classifier, *phases: Phase) -> TransferModule:
    """Train on two random batches an epoch, with all the weight decay that could move something."""
    module = make_module(
        classifier,
        *phases,
        optimizer=lambda groups: torch.optim.AdamW(groups, weight_decay=0.5),
        rates=LearningRates(0.01),
    )
    batches: Any = [(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])) for _ in range(2)]
    fit_phases(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return module


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


HEAD_ONLY = Phase("head", ("head",), 2)


def test_a_frozen_backbone_is_bit_identical_after_training(classifier: Classifier) -> None:
    before = snapshot(classifier)
    fit(classifier, HEAD_ONLY)
    assert changed(before, classifier) == {"head.weight", "head.bias"}


def test_frozen_stages_below_trainable_ones_keep_their_batchnorm_statistics(classifier: Classifier) -> None:
    names = tuple(named_stages(classifier))
    before = snapshot(classifier)
    fit(classifier, Phase("last", names[-2:], 1))
    learning = {p for s in stages(classifier.backbone) if s.name == names[-2] for p in s.parameters}
    moved = changed(before, classifier)
    moved_parameters = {n.removeprefix("backbone.") for n in moved if n.startswith("backbone.")}
    assert learning <= moved_parameters
    buffers = {n for n, _ in classifier.backbone.named_buffers()}
    prefixes = {name.rsplit(".", 1)[0] for name in learning}
    assert all(name.rsplit(".", 1)[0] in prefixes for name in moved_parameters & buffers)
    assert moved_parameters & buffers


def test_all_that_is_trainable_changes_and_all_that_is_frozen_has_no_gradient(classifier: Classifier) -> None:
    before = snapshot(classifier)
    module = fit(classifier, HEAD_ONLY)
    assert all(parameter.grad is None for parameter in classifier.backbone.parameters())
    module = fit(classifier, Phase("everything", tuple(named_stages(classifier)), 1))
    assert {n for n, _ in classifier.named_parameters()} <= changed(before, classifier)
    assert module.phase is not None


def test_an_unfrozen_phase_learns_after_a_frozen_one(classifier: Classifier) -> None:
    everything = Phase("everything", tuple(named_stages(classifier)), 1)
    before = snapshot(classifier)
    fit(classifier, HEAD_ONLY, everything)
    assert {n for n, _ in classifier.named_parameters()} <= changed(before, classifier)


def test_a_phase_does_not_depend_on_the_ones_before(classifier: Classifier) -> None:
    everything = Phase("everything", tuple(named_stages(classifier)), 1)
    for phase in (everything, HEAD_ONLY, everything, HEAD_ONLY):
        apply_phase(classifier, phase)
        learning = {n for n, p in classifier.named_parameters() if p.requires_grad}
        assert (learning == {"head.weight", "head.bias"}) == (phase is HEAD_ONLY)


def test_frozen_parts_stay_in_evaluation_mode_however_often_train_is_called(classifier: Classifier) -> None:
    module = fit(classifier, HEAD_ONLY)
    for _ in range(2):
        module.train()
        assert not any(part.training for part in classifier.backbone.modules())
        assert classifier.head.training


def test_a_frozen_backbone_gives_the_same_features_in_training_and_evaluation(classifier: Classifier) -> None:
    module = fit(classifier, HEAD_ONLY)
    images = torch.randn(4, 3, 32, 32)
    module.train()
    with torch.no_grad():
        training = classifier.backbone(images)
        module.eval()
        assert torch.equal(training, classifier.backbone(images))


def test_dropout_and_stochastic_depth_of_a_learning_stage_are_on(classifier: Classifier) -> None:
    apply_phase(classifier, Phase("everything", tuple(named_stages(classifier)), 1))
    classifier.train()
    hold_frozen(classifier)
    assert all(part.training for part in classifier.modules())


def group_of(groups: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {id(parameter): group for group in groups for parameter in group["params"]}


def test_every_trainable_tensor_is_in_exactly_one_group(classifier: Classifier) -> None:
    # Equal values must not count as the same tensor: two fresh norms are both ones and zeros.
    groups = parameter_groups(classifier, LearningRates(0.1))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in classifier.parameters())


def test_norms_and_biases_have_no_weight_decay(classifier: Classifier) -> None:
    found = group_of(parameter_groups(classifier, LearningRates(0.1)))
    for name, parameter in classifier.named_parameters():
        is_plain = found[id(parameter)].get("weight_decay") == 0.0
        assert is_plain == (parameter.ndim <= 1), name


def test_rates_fall_from_the_head_to_the_stem(classifier: Classifier) -> None:
    found = group_of(parameter_groups(classifier, LearningRates(0.1, head_multiplier=10, layer_decay=0.5)))
    parameters = dict(classifier.backbone.named_parameters())
    rates = [found[id(parameters[stage.parameters[0]])]["lr"] for stage in stages(classifier.backbone)]
    expected = [0.01 * 0.5**depth for depth in reversed(range(len(rates)))]
    assert rates == pytest.approx(expected)
    assert found[id(next(classifier.head.parameters()))]["lr"] == 0.1


STAGES = {"stem": ["conv1.weight"], "layer1": ["layer1.0.weight"], "head": ["head.weight"]}
ALL = tuple(STAGES)


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        (True, [Phase("head", ("head",), 5)]),
        (False, [Phase("everything", ALL, 5)]),
        (2, [Phase("head", ("head",), 2), Phase("everything", ALL, 3)]),
    ],
)
def test_freeze_says_the_phases(freeze: Any, expected: list[Phase]) -> None:
    assert standard(STAGES, freeze, 5) == expected


@pytest.mark.parametrize("freeze", ["maybe", 0, -1, 5, 1.5, None])
def test_any_other_freeze_is_refused(freeze: Any) -> None:
    with pytest.raises(UserError, match=f"freeze={freeze}"):
        standard(STAGES, freeze, 5)


def test_lp_ft_goes_on_with_everything_at_a_smaller_rate() -> None:
    assert lp_ft(STAGES, True, 5, probe_epochs=2, patience=3, rate=0.1) == [
        Phase("head", ("head",), 2, patience=3),
        Phase("everything", ALL, 3, 0.1),
    ]
    with pytest.raises(UserError, match="probe_epochs=5"):
        lp_ft(STAGES, True, 5, probe_epochs=5, patience=3, rate=0.1)


def test_gradual_lets_one_more_stage_learn_in_each_phase() -> None:
    assert gradual(STAGES, True, 6, epochs_per_stage=2) == [
        Phase("head", ("head",), 2),
        Phase("from layer1", ("layer1", "head"), 2),
        Phase("everything", ALL, 2),
    ]
    with pytest.raises(UserError, match=r"trainer\.max_epochs=5 or more; it is 4"):
        gradual(STAGES, True, 4, epochs_per_stage=2)


def test_select_takes_stages_and_patterns_and_names_the_nearest_of_a_wrong_one() -> None:
    assert select(STAGES, True, 3, ["layer1.*", "head"]) == [Phase("selected", ("layer1.*", "head"), 3)]
    with pytest.raises(UserError, match=r"layr1\.\* matches no parameter\. Did you mean 'layer1'"):
        select(STAGES, True, 3, ["layr1.*"])


WIDE_HEAD = {**STAGES, "head": ["head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"]}


@pytest.mark.parametrize(
    ("named", "train", "name"),
    [
        (STAGES, ["layer1.*"], "head.weight"),
        (STAGES, ["stem", "layer1"], "head.weight"),
        (WIDE_HEAD, ["layer1", "head.2.*"], "head.0.weight"),
        (WIDE_HEAD, ["head.*.weight"], "head.0.bias"),
    ],
)
def test_a_selection_that_leaves_the_new_head_frozen_is_refused(
    named: dict[str, list[str]], train: list[str], name: str
) -> None:
    with pytest.raises(UserError) as caught:
        select(named, True, 3, train)
    assert f"{name} of the new head" in str(caught.value)
    assert f"'finetuning.train=[{','.join([*train, 'head'])}]'" in str(caught.value)
    assert select(named, True, 3, [*train, "head"]) is not None


@pytest.mark.parametrize("train", [["head"], ["head.*"], ["head.weight", "head.*"]])
def test_a_selection_of_the_head_alone_is_the_phase_of_the_head(train: list[str]) -> None:
    assert select(STAGES, True, 3, train) == [Phase("selected", ("head",), 3)]


def test_a_selection_of_norms_that_are_held_is_refused(classifier: Classifier) -> None:
    refuse_held_patterns(classifier, Phase("selected", ("blocks.1.*", "head"), 1))
    phase = Phase("selected", ("*bn1.*", "blocks.1.*", "head"), 1)
    with pytest.raises(UserError, match=r"finetuning\.train: \*bn1\.\* .*finetuning\.norm=train"):
        refuse_held_patterns(classifier, phase)
    apply_phase(classifier, phase, norm="train")


def test_new_auxiliary_classifiers_learn_with_any_part_of_the_backbone() -> None:
    with torch.device("meta"):
        backbone = build_backbone("torchvision", "inception_v3", None)
        inception = Classifier(backbone, build_head(backbone, 3))
    auxiliary = list(backbone.network.get_submodule("AuxLogits").parameters())
    apply_phase(inception, Phase("selected", ("Mixed_5b.*", "head"), 1))
    assert all(parameter.requires_grad for parameter in auxiliary)
    apply_phase(inception, HEAD_ONLY)
    assert not any(parameter.requires_grad for parameter in auxiliary)


def test_a_pattern_lets_exactly_its_parameters_learn(classifier: Classifier) -> None:
    before = snapshot(classifier)
    fit(classifier, Phase("selected", ("*bn1.weight", "head"), 1))
    learning = {name for name, p in classifier.named_parameters() if p.requires_grad}
    names = {name for name, _ in classifier.named_parameters()}
    assert learning == {n for n in names if n.endswith("bn1.weight") or n.startswith("head.")}
    assert learning == changed(before, classifier) & names


def test_a_norm_without_weights_is_held_with_the_layer_before_it() -> None:
    def block(learns: bool) -> nn.Sequential:
        convolution = nn.Conv2d(3, 3, 1).requires_grad_(learns)
        return nn.Sequential(convolution, nn.BatchNorm2d(3, affine=False), nn.Dropout())

    network = nn.Sequential(block(False), nn.BatchNorm2d(3, affine=False), block(True)).train()
    hold_frozen(network)
    assert [part.training for part in network] == [False, False, True]
    assert all(part.training for part in network.get_submodule("2").children())
    mixed = nn.Sequential(*block(False), *block(True)).train()
    hold_frozen(mixed)
    assert [part.training for part in mixed] == [False] * 3 + [True] * 3


def test_frozen_norms_keep_weights_and_statistics_while_the_rest_is_trained(classifier: Classifier) -> None:
    everything = Phase("everything", tuple(named_stages(classifier)), 1)
    apply_phase(classifier, everything, norm="frozen")
    classifier.train()
    hold_frozen(classifier)
    norms = [m for m in classifier.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    convolutions = [m for m in classifier.modules() if isinstance(m, nn.Conv2d)]
    assert all(convolution.weight.requires_grad for convolution in convolutions)
