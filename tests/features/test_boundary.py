"""What is frozen before the first part that learns runs once; the rest learns the same as from images."""

import logging
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from graft.errors import UserError
from graft.features.boundary import find_cut
from graft.features.estimate import estimate
from graft.features.views import Views
from graft.models.backbones import build_backbone, build_head
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, apply_phase
from graft.training.run import train
from tests.conftest import MakeConfig, run_checkpoint
from tests.features.test_cache import NETWORKS

SELECT = ("finetuning=select", "augmentation=none", "trainer.max_epochs=3")
# Adam divides by the size of a gradient: where that is next to nothing, rounding decides the step.
EXACT = (*SELECT, "optimizer=sgd", "optimizer.lr=0.01")
LAST_BLOCKS = "finetuning.train=[blocks.4,head]"


def weights_of(run: Path) -> dict[str, Tensor]:
    """Return what a run's last checkpoint holds of the classifier."""
    state: dict[str, Tensor] = run_checkpoint(run)["state_dict"]
    return {name.removeprefix("classifier."): tensor for name, tensor in state.items()}


CASES = {
    "timm": (NETWORKS["timm"], "[blocks.3.*,blocks.4,head]", "blocks.3"),
    "torchvision": (["model=torchvision", "model.name=resnet18"], "[layer4.1.*,head]", "layer4.1"),
    "packaged": ([*NETWORKS["packaged"], "finetuning.norm=frozen"], "[blocks.6,head]", "blocks.6"),
}


@pytest.mark.parametrize("source", CASES)
def test_stored_activations_and_images_train_the_same_network(
    make_config: MakeConfig, tmp_path: Path, source: str, passes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    network, train_these, before = CASES[source]
    settings = [*EXACT, *network, "data.image_size=48", f"finetuning.train={train_these}", "head.dropout=0.2"]
    with caplog.at_level(logging.INFO):
        kept = train(make_config(*settings, "features.cache=true", run="kept"))
    assert f"up to {before} are stored" in caplog.text or f"up to {before}.0 are stored" in caplog.text
    once = sum(passes)
    fresh = train(make_config(*settings, "features.cache=false", run="fresh"))
    assert once < 24 + 16
    assert sum(passes) - once >= 3 * 20 + 4
    expected, found = weights_of(tmp_path / "fresh"), weights_of(tmp_path / "kept")
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.allclose(tensor.float(), expected[name].float(), rtol=0, atol=1e-5), name
    for name in ("test/accuracy", "test/f1", "test/loss", "val/loss"):
        assert kept[name] == pytest.approx(fresh[name], abs=1e-5)


def test_the_front_stays_what_it_was_to_the_last_bit_and_the_rest_learns(
    make_config: MakeConfig, weights: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(make_config(*SELECT, weights, LAST_BLOCKS, board=True))
    assert "TensorBoard lacks" not in caplog.text
    before = torch.load(weights.split("=")[1], weights_only=True)
    after = {name.removeprefix("backbone.network."): t for name, t in weights_of(tmp_path / "run").items()}
    learned = [name for name in after if name in before and not torch.equal(after[name], before[name])]
    assert all(name.startswith(("blocks.4.", "conv_head.", "bn2.")) for name in learned)
    assert {"blocks.4.0.conv_pw.weight", "blocks.4.0.bn1.running_mean"} < set(learned)


def test_another_run_finds_what_is_stored_whatever_the_rest_has_learned(
    make_config: MakeConfig, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = weights.split("=")[1]
    train(make_config(*SELECT, weights, LAST_BLOCKS))
    state = torch.load(file)
    for name, is_found in (("blocks.4.0.conv_pw.weight", True), ("blocks.3.0.bn1.running_mean", False)):
        state[name] += 1e-3
        torch.save(state, file)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            train(make_config(*SELECT, weights, LAST_BLOCKS, "seed=3", "optimizer=sgd", run=name))
        assert ("24 of 24 are stored" in caplog.text) is is_found
        assert ("24 computed" in caplog.text) is not is_found


def test_a_resumed_run_equals_an_uninterrupted_one(
    make_config: MakeConfig, weights: str, tmp_path: Path
) -> None:
    settings = (*SELECT, weights, LAST_BLOCKS)
    folder = tmp_path / "run" / "checkpoints"
    keep = ["+callbacks.keep._target_=tests.conftest.KeepCheckpoints"]
    keep += ["+callbacks.keep.folder=${paths.run}/checkpoints"]
    train(make_config(*settings, *keep))
    train(make_config(*settings, *keep, f"resume={folder}/epoch1.ckpt", run="resumed"))
    expected, found = weights_of(tmp_path / "run"), weights_of(tmp_path / "resumed")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_head_that_is_named_by_a_pattern_learns_from_features(
    make_config: MakeConfig, weights: str, passes: list[int]
) -> None:
    train(make_config(*SELECT, weights, "finetuning.train=[head.*]"))
    assert sum(passes) == 1 + 24


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            ["model.name=test_vit", "data.image_size=null", "finetuning.train=[blocks.5,head]"],
            "cannot be cut",
        ),
        (["finetuning.train=[stem,head]"], "learns from its first part on"),
        ([LAST_BLOCKS, "cache.limit_gb=1e-6"], r"cache\.limit_gb=1e-06"),
        ([LAST_BLOCKS, "loss.mixup=0.2"], "mixup"),
    ],
)
def test_where_rows_cannot_be_stored_images_are_used_and_true_is_refused(
    make_config: MakeConfig,
    settings: list[str],
    reason: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    with caplog.at_level(logging.INFO):
        train(make_config(*SELECT, "trainer.max_epochs=1", *settings))
    assert "features   are not stored" in caplog.text
    assert not (tmp_path / "cache" / "features").exists()
    with pytest.raises(UserError, match=rf"features\.cache=true, but .*{reason}"):
        train(make_config(*SELECT, "features.cache=true", *settings, run="refused"))


def test_what_saves_no_time_is_not_stored_unless_it_is_asked_for(
    make_config: MakeConfig, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = (*SELECT, weights, LAST_BLOCKS, "trainer.max_epochs=1")
    for cache, said in (("auto", "up to blocks.4 are not stored: "), ("true", "up to blocks.4 are stored: ")):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            train(make_config(*settings, f"features.cache={cache}", run=cache))
        assert said in caplog.text
        assert " kB a view, " in caplog.text


def test_storing_pays_for_small_rows_that_are_used_often(make_config: MakeConfig) -> None:
    data = instantiate(make_config("augmentation=none").data)
    data.use_preprocessing(build_backbone("timm", "test_efficientnet", None).preprocessing)
    once = {split: Views(data, split) for split in ("train", "val")}
    four = once | {"train": Views(data, "train", 4)}
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert estimate(once, 10, 100_000, 10**9, cpu).pays
    assert not estimate(once, 1, 100_000, 10**9, cpu).pays
    assert not estimate(four, 4, 100_000, 10**9, cpu).pays
    assert not estimate(once, 10, 10_000_000, 10**9, cpu).pays
    assert estimate(once, 10, 500_000, 10**9, cpu).pays
    assert not estimate(once, 10, 500_000, 10**9, gpu).pays
    assert estimate(four, 4, 1000, 0, cpu).size == pytest.approx((4 * 16 + 4) * 1e-6)


class Branches(nn.Module):
    """A branch from the input past the first part, which adds nothing as long as it is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.past = (nn.Conv2d(3, 3, 1) for _ in range(3))
        for parameter in self.past.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[B, 3]`."""
        found: Tensor = (self.second(self.first(images)) + self.past(images)).mean(dim=(2, 3))
        return found


@pytest.mark.parametrize("past_learns", [True, False])
def test_a_network_is_not_cut_below_a_branch_that_begins_to_learn_from_zero(past_learns: bool) -> None:
    backbone = build_backbone("timm", "test_efficientnet", None)
    classifier = Classifier(backbone, build_head(backbone, 2)).eval()
    backbone.network = Branches()
    backbone.network.requires_grad_(False)
    backbone.network.second.requires_grad_(True)
    backbone.network.past.requires_grad_(past_learns)
    cut = find_cut(classifier, torch.randn(2, 3, 8, 8))
    assert (cut is None) is past_learns


def test_the_latest_exact_cut_is_found_whatever_lies_around_it() -> None:
    backbone = build_backbone("torchvision", "resnet18", None)
    classifier = Classifier(backbone, build_head(backbone, 2)).eval()
    images = torch.randn(2, 3, 32, 32)
    for learns, before in (
        ("layer4.1.*", "layer4.1"),
        ("layer4.1.conv2.*", "layer4.1"),
        ("layer2.*", "layer2"),
    ):
        apply_phase(classifier, Phase("some", (learns, "head"), 1))
        cut = find_cut(classifier, images)
        assert cut is not None
        assert cut.before == f"network.{before}"
