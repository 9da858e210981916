# room: features
"""A frozen backbone runs once, and the head learns what it would have learned from images."""

import gc
import logging
import multiprocessing
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

import graft
from graft.cli.settings import check_settings
from graft.data.cache_folders import cache_folders
from graft.data.transforms import Augmentation
from graft.errors import UserError
from graft.features import extraction
from graft.features.dataset import FeatureDataset
from graft.features.recipe import SOURCES, code_digest, recipe, tensors_digest
from graft.features.store import FeatureStore
from graft.features.views import Views, view_key
from graft.models.backbones import build_backbone
from tests.conftest import MakeConfig, make_data_module, write_images
from tests.conftest import trained as train


def head(run: Path) -> dict[str, torch.Tensor]:
    """The classifier that a run has left."""
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("classifier.")}


NETWORKS = {
    "timm": ["model.source=timm", "model.name=test_efficientnet"],
    "torchvision": ["model=torchvision", "model.name=squeezenet1_1", "data.image_size=64"],
    "packaged": ["model=efficientnet_lite0", "model.name=efficientnet_lite0", "model.weights=default"],
}


@pytest.mark.parametrize("source", NETWORKS)
def test_stored_features_and_images_train_the_same_classifier(
    make_config: MakeConfig, tmp_path: Path, source: str, passes: list[int]
) -> None:
    settings = [*NETWORKS[source], "augmentation=none", "head.dropout=0.2", "data.balanced=true"]
    # Adam divides by the size of a gradient: where that is next to nothing, rounding decides the step.
    settings += ["optimizer=sgd", "optimizer.lr=0.01"]
    kept = train(make_config(*settings, run="kept"))
    once = sum(passes)
    fresh = train(make_config(*settings, "features.cache=false", run="fresh"))
    assert once == 24
    assert sum(passes) - once > 2 * 16
    expected = head(tmp_path / "fresh")
    for name, tensor in head(tmp_path / "kept").items():
        assert torch.allclose(tensor, expected[name], rtol=0, atol=1e-5), name
    for name in ("test/accuracy", "test/f1", "test/loss", "val/loss"):
        assert kept[name] == pytest.approx(fresh[name], abs=1e-5)


def test_another_seed_optimizer_and_grown_folder_compute_only_what_is_new(
    make_config: MakeConfig, weights: str, images: Path, passes: list[int]
) -> None:
    train(make_config(weights, "augmentation=none"))
    assert sum(passes) == 24
    train(make_config(weights, "augmentation=none", "seed=3", "optimizer=sgd", run="second"))
    assert sum(passes) == 24
    write_images(images / "new", 3, 120, seed=9)
    for file in (images / "new").iterdir():
        shutil.move(file, images / "dark" / f"new-{file.name}")
    (images / "new").rmdir()
    train(make_config(weights, "augmentation=none", run="grown"))
    assert sum(passes) == 24 + 3


@pytest.mark.parametrize("change", ["another image", "image size", "weights"])
def test_what_changes_the_features_is_computed_anew(
    make_config: MakeConfig, weights: str, images: Path, passes: list[int], change: str
) -> None:
    train(make_config(weights, "augmentation=none"))
    before = sum(passes)
    more = []
    if change == "another image":
        shutil.copyfile(images / "light" / "001.jpg", images / "dark" / "001.jpg")
    elif change == "image size":
        more = ["data.image_size=40"]
    else:
        state = torch.load(weights.split("=")[1])
        state["bn1.running_mean"] += 1e-3
        torch.save(state, weights.split("=")[1])
    train(make_config(weights, "augmentation=none", *more, run="second"))
    # A copy of another image is that image.
    assert sum(passes) - before == (0 if change == "another image" else 24)


def test_views_are_augmented_and_one_is_drawn_each_epoch(
    make_config: MakeConfig, weights: str, tmp_path: Path, passes: list[int]
) -> None:
    settings = [weights, "augmentation=standard", "features.views=3"]
    train(make_config(*settings, run="a"))
    splits = (tmp_path / "a" / "splits.csv").read_text().count(",train")
    assert sum(passes) == 24 + 2 * splits
    # The first view does not depend on the augmentation: it is there already.
    train(make_config(weights, "augmentation=light", "features.views=2", run="b"))
    assert sum(passes) == 24 + 3 * splits
    three = train(make_config(*settings, run="c"))
    one = train(make_config(weights, "augmentation=standard", "features.views=1", run="d"))
    assert three["val/loss"] != one["val/loss"]
    assert three["val/loss"] == train(make_config(*settings, run="e"))["val/loss"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["regularisation.mixup=0.2"], "mixup"),
        (["trainer.precision=64"], "precision"),
        (["+trainer.limit_train_batches=2"], "only a part"),
        (["+trainer.limit_train_batches=1"], "only a part"),
    ],
)
def test_where_images_are_needed_they_are_used_and_true_is_refused(
    make_config: MakeConfig, settings: list[str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(make_config("trainer.max_epochs=1", *settings))
    assert reason in caplog.text
    with pytest.raises(UserError, match=rf"features\.cache=true, but .*{reason}"):
        train(make_config("features.cache=true", *settings, run="refused"))


def test_no_views_mean_no_cache(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("trainer.max_epochs=1", "features.views=0"))
    assert not (tmp_path / "cache" / "features").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "features.cache=maybe",
        "features.views=-1",
        "features.dtype=int8",
        "features.cache=1",
        "cache.limit_gb=0",
        "cache.limit_gb=-1",
        "cache.limit_gb=true",
        "cache.limit_gb=.nan",
    ],
)
def test_a_setting_that_is_none_of_the_choices_is_refused(make_config: MakeConfig, setting: str) -> None:
    with pytest.raises(UserError, match=setting.split("=")[0].replace(".", r"\.")):
        check_settings(make_config(setting))


def test_a_cache_that_cannot_be_written_stops_no_run_that_has_not_asked_for_it(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = [f"cache.dir={tmp_path}/file/cache", "trainer.max_epochs=1"]
    with caplog.at_level(logging.INFO):
        metrics = train(make_config(*settings))
    assert metrics["epoch"] == 1
    assert f"features   are not cached: {tmp_path}/file" in caplog.text
    assert re.search(r"checked/[\w-]+\.tsv cannot be written .*cache\.dir=DIR", caplog.text)
    with pytest.raises(UserError, match=r"features\.cache=true, but .*file.* cannot be used.*cache\.dir=DIR"):
        train(make_config(*settings, "features.cache=true", run="refused"))
    with pytest.raises(UserError, match=r"data\.cache=disk: .*file.* cannot be used.*data\.cache=none"):
        train(make_config(*settings, "features.cache=false", "data.cache=disk", run="disk"))


def test_one_of_several_processes_that_cannot_use_the_cache_ends_the_run(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    several = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]

    # It fails before it would start the other one, which may be able to use the folder.
    with pytest.raises(UserError, match=r"several processes .*file.* cannot be used.*features\.cache=false"):
        train(make_config(*several, f"cache.dir={tmp_path}/file/cache"))


def test_half_precision_takes_half_the_room_and_nearly_the_same_head(
    make_config: MakeConfig, weights: str, tmp_path: Path
) -> None:
    settings = [weights, "augmentation=none"]
    whole = train(make_config(*settings, f"cache.dir={tmp_path}/whole"))
    half = train(make_config(*settings, f"cache.dir={tmp_path}/half", "features.dtype=float16", run="half"))
    sizes = [
        sum(file.stat().st_size for file in (tmp_path / name).rglob("*.rows")) for name in ("half", "whole")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    assert half["test/loss"] == pytest.approx(whole["test/loss"], abs=1e-2)


def test_an_interrupted_pass_keeps_what_it_has_written(
    make_config: MakeConfig, weights: str, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "SEGMENT", 1)
    add = FeatureStore.add

    def stop_after_two(self: FeatureStore, *arguments: Any) -> None:
        if len(list(self.folder.glob("*.rows"))) == 2:
            raise KeyboardInterrupt
        add(self, *arguments)

    monkeypatch.setattr(FeatureStore, "add", stop_after_two)
    with pytest.raises(SystemExit):
        train(make_config(weights, "augmentation=none"))
    monkeypatch.setattr(FeatureStore, "add", add)
    before = sum(passes)
    train(make_config(weights, "augmentation=none", run="again"))
    assert sum(passes) - before == 24 - 2 * 4


def train_and_count(config: DictConfig, count: Any) -> None:
    add = FeatureStore.add

    def counted(self: FeatureStore, keys: np.ndarray, rows: np.ndarray) -> None:
        with count.get_lock():
            count.value += len(keys)
        add(self, keys, rows)

    FeatureStore.add = counted  # type: ignore[method-assign]
    torch.set_num_threads(1)
    train(config)


def test_two_processes_that_fill_one_cache_repeat_nothing(make_config: MakeConfig, weights: str) -> None:
    context = multiprocessing.get_context("spawn")
    count = context.Value("i", 0)
    configs = [make_config(weights, "augmentation=none", f"seed={n}", run=str(n)) for n in (1, 2)]
    workers = [context.Process(target=train_and_count, args=(config, count)) for config in configs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert count.value == 24


def test_what_a_killed_process_has_half_written_is_removed(
    make_config: MakeConfig, weights: str, tmp_path: Path
) -> None:
    train(make_config(weights, "augmentation=none"))
    (folder,) = cache_folders(tmp_path / "cache" / "features")
    (folder.path / ".segment.rows.unique.part").write_bytes(b"half")
    train(make_config(weights, "augmentation=none", run="again"))
    assert not list(folder.path.glob(".*"))


def test_runs_keep_the_cache_below_its_limit_and_the_oldest_go_first(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    root = tmp_path / "cache" / "features"
    settings = ["trainer.max_epochs=1", "augmentation=none"]
    train(make_config(*settings))
    gc.collect()  # A run's marks go with its objects.
    (first,) = cache_folders(root)
    for size in (40, 48):
        limit = f"cache.limit_gb={2.5 * first.size / 1e9}"
        train(make_config(*settings, limit, f"data.image_size={size}", run=str(size)))
        gc.collect()
    assert [f.recipe["preprocessing"]["crop"][0] for f in cache_folders(root)] == [48, 40]


def test_the_test_split_is_left_alone_where_another_phase_follows(
    make_config: MakeConfig, weights: str, tmp_path: Path, passes: list[int]
) -> None:
    settings = [weights, "freeze=1", "augmentation=none", "trainer.max_steps=3"]
    metrics = train(make_config(*settings))  # It ends in the first phase, and is tested from images.
    rows = (tmp_path / "run" / "splits.csv").read_text().splitlines()
    assert sum(passes) == 24
    assert [row.rsplit(",")[-1] for row in rows].count("test") == passes[-1]
    assert metrics["epoch"] == 1


def test_a_head_that_is_named_by_a_pattern_learns_from_features(
    make_config: MakeConfig, weights: str, passes: list[int]
) -> None:
    settings = ["finetuning=select", "augmentation=none", "trainer.max_epochs=3"]
    train(make_config(*settings, weights, "finetuning.train=[head.*]"))
    assert sum(passes) == 24


def test_a_backbone_that_is_trainable_in_part_runs_on_images_in_every_epoch(
    make_config: MakeConfig, weights: str, tmp_path: Path, passes: list[int]
) -> None:
    settings = ["finetuning=select", "augmentation=none", "trainer.max_epochs=3", "features.cache=true"]
    train(make_config(*settings, weights, "finetuning.train=[blocks.4,head]"))
    assert not (tmp_path / "cache" / "features").exists()
    assert sum(passes) > 3 * 16


def test_targets_of_any_shape_are_stacked(images: Path, tmp_path: Path) -> None:
    preprocessing = build_backbone("timm", "test_efficientnet", None).preprocessing
    data = make_data_module(images, preprocessing, Augmentation(), cache_dir=str(tmp_path))
    views = Views(data, "val", 2)
    store = FeatureStore(tmp_path / "store", 3, "float32")
    store.add(views.keys, np.arange(3 * len(views), dtype=np.float32).reshape(-1, 3))
    store.refresh()
    views.labels = [torch.tensor([n, n + 0.5]) for n in range(len(views) // 2)]
    features = FeatureDataset(store, views)
    assert features[1, None][1].tolist() == [1, 1.5]
    (chunk,) = features.chunks(100)
    assert chunk[0].shape == (len(views), 3)
    assert chunk[1].tolist() == [[n, n + 0.5] for n in range(len(views) // 2) for _ in range(2)]


def test_the_key_of_a_view_depends_on_what_augments_it_and_not_on_empty_transforms() -> None:
    plain, flipped = Augmentation(), Augmentation(horizontal_flip=0.5)
    assert view_key("image", plain, 1, False) == view_key("image", Augmentation(transforms={}), 1, False)
    assert view_key("image", plain, 0, False) == view_key("image", flipped, 0, True)
    others = [view_key("image", plain, 2, False), view_key("image", plain, 1, True)]
    others += [
        view_key("image", varied, 1, False)
        for varied in (flipped, Augmentation(transforms={"blur": {"_target_": "Blur"}}))
    ]
    assert len({view_key("image", plain, 1, False), *others}) == 5


def test_features_that_would_take_too_much_room_are_not_stored(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = ["cache.limit_gb=1e-6", "trainer.max_epochs=1"]
    with caplog.at_level(logging.INFO):
        train(make_config(*small))
    assert "features   are not cached: they would take" in caplog.text
    assert not (tmp_path / "cache" / "features").exists()
    with pytest.raises(
        UserError, match=r"features\.cache=true, but they would take .* cache\.limit_gb=1e-06"
    ):
        train(make_config(*small, "features.cache=true", run="refused"))


def test_code_that_makes_features_is_part_of_the_recipe(tmp_path: Path) -> None:
    code = Path(graft.__file__).parent
    assert all(any(code.glob(pattern)) for pattern in SOURCES)
    shutil.copytree(code, tmp_path / "graft")
    assert code_digest(tmp_path / "graft") == code_digest(code)
    for name in ("data/transforms.py", "data/images.py", "data/decoded.py", "models/backbones/backbone.py"):
        before = code_digest(tmp_path / "graft")
        with (tmp_path / "graft" / name).open("a") as file:
            file.write("# changed\n")
        assert code_digest(tmp_path / "graft") != before


OWN_CODE = """
from torch import nn


class Own(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 1)
"""


def test_the_code_of_a_persons_own_network_and_augmentation_is_part_of_the_keys(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, own = tmp_path / "own_code_of_a_test.py", "own_code_of_a_test.Own"
    file.write_text(OWN_CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    prepared: dict[str, Any] = {"size": 32, "mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"}
    backbone = build_backbone("module", "own", weights=None, _target_=own, preprocessing=prepared)
    varied = Augmentation(transforms={"own": {"_target_": own}, "torchs": {"_target_": "torch.nn.Identity"}})
    data = make_data_module(images, backbone.preprocessing, varied)

    def keys() -> tuple[dict[str, str], list[list[bytes]]]:
        made_by = recipe(backbone, backbone.preprocessing, "float32", "32-true", torch.device("cpu"))
        return made_by["own_code"], Views(data, "val", 2).keys.reshape(-1, 2).T.tolist()

    network, (plain, augmented) = keys()
    file.write_text(f"{OWN_CODE}# changed", encoding="utf-8")
    other_network, (other_plain, other_augmented) = keys()

    assert network.keys() == {own} == other_network.keys()
    assert network != other_network
    assert plain == other_plain
    assert not set(augmented) & set(other_augmented)


def test_buffers_that_are_not_saved_are_part_of_the_recipe() -> None:
    network = torch.nn.Module()
    network.register_buffer("scale", torch.ones(2), persistent=False)
    before = tensors_digest(network)
    network.get_buffer("scale").mul_(2)
    assert tensors_digest(network) != before
