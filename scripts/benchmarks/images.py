"""The images of the benchmark: a real data set, split as ImageFolder wants it, and generated ones."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from graft.data.labelled_images import LabelledImages, read_labelled_images
from graft.data.sources.elpv import prepare_elpv
from graft.data.splits import limit_splits
from graft.training.building import build_task

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SEED = 42


def read_folder(root: Path, seed: int = SEED, **changes: Any) -> LabelledImages:
    """Return the images of a folder as the default settings split them; `changes` are settings of `data`."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=["data=folder", f"seed={seed}"])
    config.data.merge_with({"root": str(root), **changes})
    data, task = (OmegaConf.to_container(config[key], resolve=True) for key in ("data", "task"))
    return read_labelled_images(cast(dict[str, Any], data), build_task(cast(dict[str, Any], task)))


def split_folder(images: Path | None, folder: Path, most: int | None = None, seed: int = SEED) -> Path:
    """Return a folder of links `{train,val,test}/CLASS/*` to an image folder's files; None: ELPV.

    `most`: so many training images at most, drawn by class, and half as many in each other split.
    """
    source = images or prepare_elpv(folder / "elpv", cut=0.5)
    which = hashlib.blake2b(f"{source.resolve()} {most} {seed}".encode(), digest_size=4).hexdigest()
    target = folder / f"{source.name}-split-{which}"
    if target.is_dir():
        return target
    unfinished = target.with_suffix(".part")
    for split, found in read_folder(source, seed, cache_dir=str(folder / "cache")).samples.items():
        samples = found
        if most is not None:
            samples = limit_splits(found, most if split == "train" else most // 2, seed)
        for sample in samples:
            link = unfinished / split / sample.target[0] / sample.path.replace("/", "-")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to((source / sample.path).resolve())
    unfinished.rename(target)
    return target


def generated(folder: Path, count: int, width: int, height: int) -> Path:
    """Return a folder of two classes of generated JPEGs, so many in all, made where they are missing.

    Smooth noise: it compresses as photographs do. From 200 on, they repeat, but for bytes behind the
    image, so that each file is one of its own.
    """
    target = folder / f"generated-{count}-{width}x{height}"
    if target.is_dir():
        return target
    originals = target.with_suffix(".originals")
    originals.mkdir(parents=True, exist_ok=True)

    def make(number: int) -> None:
        chance = np.random.default_rng(number)
        coarse = chance.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        grain = chance.normal(0, 6, (height, width, 1))
        pixels = (np.asarray(image, np.float32) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(originals / f"{number}.jpg", quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(min(count, 200))))
    unfinished = target.with_suffix(".part")
    for number in range(count):
        file = unfinished / f"class{number % 2}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((originals / f"{number % 200}.jpg").read_bytes() + number.to_bytes(4, "big"))
    unfinished.rename(target)
    return target
