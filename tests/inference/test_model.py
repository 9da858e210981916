"""A loaded model: labels and values, in order, lazily, whatever is wrong with an image."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import MulticlassAccuracy

from graft import load
from graft.data.decoded import decoding_side
from graft.data.images import open_rgb
from graft.data.transforms import evaluation_transform
from graft.errors import UserError
from graft.inference.model import Model
from graft.inference.runtimes import load_model
from graft.inference.search import find_images
from graft.preprocessing import Preprocessing
from graft.tasks.multiclass import Multiclass
from graft.training.run import train
from tests.conftest import MakeConfig, task_of, write_checkpoint, write_images

TASK = Multiclass(columns=("dark", "light"))
PREPROCESSING = Preprocessing((8,), (8, 8), "bilinear", True, (0.5,) * 3, (0.5,) * 3)


class OwnAccuracy(MulticlassAccuracy):
    """A metric of a package that Graft does not know."""


def brightness(images: torch.Tensor) -> torch.Tensor:
    """A network whose second logit is the left column's mean brightness, from 0 to 1."""
    shade = images[..., 0].float().mean(dim=(1, 2)) / 255
    return torch.stack([torch.zeros_like(shade), shade], dim=1)


@pytest.fixture
def model() -> Model:
    return Model(brightness, TASK, PREPROCESSING)


def test_probabilities_are_those_of_the_transform_of_training(checkpoint: Path, images: Path) -> None:
    from graft.models.checkpoints import load_classifier

    loaded = load_classifier(checkpoint)
    paths = sorted(images.rglob("*.jpg"))
    transform = evaluation_transform(loaded.preprocessing)
    side = decoding_side(loaded.preprocessing)
    with torch.inference_mode():
        batch = torch.stack([transform(open_rgb(path, side)) for path in paths])
        expected = loaded.classifier(batch).softmax(dim=1)
    model = load(checkpoint)
    found = model.predict(paths)
    assert [p.path for p in found] == paths
    assert torch.equal(torch.tensor([p.values for p in found]), expected)
    assert [p.label for p in found] == [model.task.columns[i] for i in expected.argmax(dim=1)]
    assert len({p.label for p in found}) == 2


def test_unreadable_images_keep_their_place_and_batches_are_full(images: Path) -> None:
    sizes = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return brightness(batch)

    for name in ("002a.jpg", "005a.jpg"):
        (images / "dark" / name).write_text("no image", encoding="utf-8")
    paths = [*sorted((images / "dark").iterdir()), images / "gone.jpg"]
    found = list(Model(network, TASK, PREPROCESSING).stream(paths, batch_size=5))
    assert [p.path for p in found] == paths
    assert [p.path.name for p in found if p.path and p.error] == ["002a.jpg", "005a.jpg", "gone.jpg"]
    assert all(p.values == () and p.label is None for p in found if p.error)
    assert sizes == [5, 5, 2]


def test_any_number_of_images_is_taken_a_few_at_a_time(model: Model, images: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield images / "dark" / "000.jpg"

    stream = model.stream(endless(), batch_size=4)
    for _ in range(40):
        next(stream)
    assert taken <= 40 + 4 + 2 * 4


def test_many_unreadable_images_do_not_wait_for_a_full_batch(model: Model, images: Path) -> None:
    good, bad = images / "dark" / "000.jpg", images / "gone.jpg"
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        yield good
        while True:
            taken += 1
            yield bad

    assert next(model.stream(endless(), batch_size=4)).path == good
    assert taken < 100


def test_flip_averages_a_image_and_its_mirror_image(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("L", (8, 8), 0)
    image.paste(255, (4, 0, 8, 8))
    image.save(tmp_path / "half.png")
    model = Model(brightness, TASK, PREPROCESSING)
    (plain,) = model.predict([tmp_path / "half.png"])
    (flipped,) = model.predict([tmp_path / "half.png"], flip=True)
    assert plain.values[1] == 0.5
    assert flipped.values[1] == pytest.approx((0.5 + torch.sigmoid(torch.tensor(1.0)).item()) / 2)


def test_below_the_threshold_the_label_is_kept_and_not_certain(model: Model, images: Path) -> None:
    paths = sorted((images / "light").iterdir())
    probabilities = sorted(p.values[1] for p in model.predict(paths))
    middle = (probabilities[5] + probabilities[6]) / 2
    found = model.predict(paths, threshold=middle)
    assert {p.label for p in found} == {"light"}
    assert [p.is_certain for p in found] == [p.values[1] >= middle for p in found]
    assert sum(bool(p.is_certain) for p in found) == 6
    assert model.predict(paths[:1])[0].is_certain is None


def test_a_temperature_divides_the_logits(images: Path) -> None:
    path = images / "light" / "000.jpg"
    (plain,) = Model(brightness, TASK, PREPROCESSING).predict([path])
    (warm,) = Model(brightness, replace(TASK, temperature=2.0), PREPROCESSING).predict([path])
    logit = torch.tensor(plain.values[1]).logit()
    assert warm.values[1] == pytest.approx(torch.sigmoid(logit / 2).item(), abs=1e-6)


def test_labels_and_numbers_are_answered_in_their_own_form(tmp_path: Path, images: Path) -> None:
    paths = sorted(images.rglob("*.jpg"))
    several = task_of("multilabel", ("big", "round"), thresholds=[0.5, 0.0])
    model = load(write_checkpoint(tmp_path / "labels.ckpt", task=several))
    for found, logits in zip(model.predict(paths), model.logits(paths), strict=True):
        assert found.values == pytest.approx(logits.sigmoid().tolist())
        assert found.label == ("big;round" if logits[0] >= 0 else "round")
        assert found.probability is None
    numbers = task_of("regression", ("age",), mean=[40.0], std=[10.0])
    model = load(write_checkpoint(tmp_path / "numbers.ckpt", task=numbers))
    for found, logits in zip(model.predict(paths), model.logits(paths), strict=True):
        assert found.values == pytest.approx([40 + 10 * logits.item()])
        assert found.label == f"{found.values[0]:.6g}"
        assert found.probability is None
    with pytest.raises(UserError, match=r"threshold=0\.5 needs task=multiclass; the model's task is regr"):
        model.predict(paths, threshold=0.5)


def test_flip_averages_numbers(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (4, 0, 8, 8))
    image.save(tmp_path / "half.png")
    task = task_of("regression", ("dark", "light"), mean=[0.0, 5.0], std=[1.0, 2.0])
    (found,) = Model(brightness, task, PREPROCESSING).predict([tmp_path / "half.png"], flip=True)
    assert found.values == (0.0, 6.0)  # Brightness 0 and 1: 5 and 7.


def test_a_package_that_a_checkpoint_names_is_imported_only_if_it_is_allowed(tmp_path: Path) -> None:
    own = {"accuracy": {"_target_": "tests.inference.test_model.OwnAccuracy"}}
    task = replace(TASK, metrics=own)
    file = write_checkpoint(tmp_path / "own.ckpt", task=task)
    with pytest.raises(UserError, match=r"allow=\[tests\]"):
        load(file)
    assert load(file, allow=["tests"]).task == task


def test_images_of_other_channels_are_files_and_arrays(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    bands = chance.integers(0, 65535, (8, 8, 5), np.uint16)
    np.save(tmp_path / "a.npy", bands)
    np.save(tmp_path / "b.npy", bands[..., :3])
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    seen: list[torch.Tensor] = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images[:, :2].mean(dim=(2, 3))

    preprocessing = Preprocessing((8,), (8, 8), "bilinear", True, (0.5,) * 5, (0.5,) * 5)
    model = Model(network, TASK, preprocessing)
    files = list(find_images(str(tmp_path), channels=5))
    assert files == [tmp_path / "a.npy", tmp_path / "b.npy"]
    found, other, given = model.predict([*files, bands])
    assert found.values == given.values
    assert other.error.startswith("it has 3 bands")
    assert seen[0].shape == (2, 5, 8, 8)
    expected = torch.from_numpy(bands / 65535).float().permute(2, 0, 1)
    assert torch.allclose(seen[0][0], expected, atol=1e-6)


def test_a_single_path_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match="a list of images"):
        model.predict("a.jpg")


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_model(tmp_path / "none.ckpt")


def test_importing_graft_does_not_import_torch() -> None:
    code = "import sys, graft; assert callable(graft.load); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_file_folder_and_pattern_find_the_same_images(tmp_path: Path) -> None:
    root = tmp_path / "more"
    write_images(root / "b" / "deep", 2, 80, seed=1)
    write_images(root / "a", 2, 80, seed=2)
    write_images(root, 1, 80, seed=3)
    (root / "a" / "notes.txt").write_text("no image", encoding="utf-8")
    (root / ".hidden.jpg").write_text("hidden", encoding="utf-8")
    (root / "a" / "[1].JPG").write_bytes((root / "000.jpg").read_bytes())
    found = list(find_images(str(root)))
    assert found == sorted(p for p in root.rglob("[!.]*") if p.suffix.lower() == ".jpg")
    assert list(find_images(f"{root}/**/*")) == found
    assert list(find_images(f"{root}/a/*.jpg")) == [root / "a" / "000.jpg", root / "a" / "001.jpg"]
    assert list(find_images(f"{root}/a/[1].JPG")) == [root / "a" / "[1].JPG"]


def test_a_folder_is_walked_as_its_images_are_asked_for(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "walk" / name, 1, 80, seed=1)
    found = find_images(str(tmp_path / "walk"))
    next(found)
    write_images(tmp_path / "walk" / "b", 3, 80, seed=1)
    assert len(list(found)) == 3


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    write_images(tmp_path / "loop", 1, 80, seed=1)
    (tmp_path / "loop" / "z").symlink_to(tmp_path / "loop", target_is_directory=True)
    assert list(find_images(str(tmp_path / "loop"))) == [tmp_path / "loop" / "000.jpg"]


@pytest.mark.parametrize("source", ["piks", "*.tiff", "empty"])
def test_input_without_images_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images|no such file or folder"):
        find_images(str(tmp_path / source))


def test_images_and_arrays_are_taken_like_their_files(model: Model, images: Path) -> None:
    paths = sorted((images / "dark").iterdir())[:3]
    expected = model.predict(paths)
    opened = [Image.open(path) for path in paths]
    for given in (opened, [np.asarray(image) for image in opened]):
        found = model.predict(given)
        assert [p.label for p in found] == [p.label for p in expected]
        assert [p.path for p in found] == [None] * 3
    grey = model.predict([np.asarray(opened[0].convert("L"))])[0]
    assert grey.label in model.task.columns


def test_what_is_no_image_has_no_label_and_one_image_alone_is_refused(model: Model, images: Path) -> None:
    broken, whole = model.predict([np.zeros((4, 4), np.float32), sorted((images / "dark").iterdir())[0]])
    assert broken.label is None
    assert "uint8 [H, W] or [H, W, 3]" in broken.error
    assert whole.label in model.task.columns
    with pytest.raises(UserError, match=r"predict\(\[image\]\)"):
        model.predict(Image.new("RGB", (8, 8)))  # type: ignore[arg-type]


def test_the_range_of_float_images_is_that_of_the_data_set_and_travels_with_the_model(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    chance = np.random.default_rng(0)
    for name, most in (
        ("dark", 0.9),
        ("light", 200.0),
    ):  # Alone, a dark image would look like one from 0 to 1.
        (tmp_path / "floats" / name).mkdir(parents=True)
        for number in range(8):
            values = chance.uniform(0, most, (40, 48)).astype(np.float32)
            Image.fromarray(values).save(tmp_path / "floats" / name / f"{number}.tif")
    train(make_config(f"data.root={tmp_path / 'floats'}", "trainer.max_epochs=1", "data.num_workers=0"))
    model = load(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert model.preprocessing.value_range == (0.0, 255.0)
    dark = tmp_path / "floats" / "dark" / "0.tif"
    black = Image.new("RGB", (48, 40))
    found, expected = model.predict([dark, black])
    assert found.values == pytest.approx(expected.values, abs=0.02)
    Image.fromarray(np.full((40, 48), 300, np.float32)).save(tmp_path / "white.tif")
    (outside,) = model.predict([tmp_path / "white.tif"])
    assert outside.label is None
    assert "0 to 255 is expected" in outside.error
