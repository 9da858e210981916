"""`scripts/models.py`: the list of networks; and the files of configs/model."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torchvision
from omegaconf import OmegaConf
from torchvision.models import get_model_weights, list_models

from graft.errors import UserError
from graft.models.backbones.catalogue import entries, find, table
from graft.models.settings import SOURCES

PROJECT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((PROJECT / "configs" / "model").glob("*.yaml"))


def test_every_network_and_every_set_of_weights_is_listed() -> None:
    listed = {(entry.source, entry.name) for entry in entries()}

    assert {name for source, name in listed if source == "torchvision"} == set(
        list_models(module=torchvision.models)
    )
    assert len({name for source, name in listed if source == "timm"}) == len(timm.list_models())
    assert ("packaged", "efficientnet_lite0") in listed


def test_a_pattern_chooses_and_the_columns_are_the_weights_own_numbers() -> None:
    lines = table(find("resnet50")).splitlines()

    assert len({line.index("torchvision") for line in lines if "torchvision" in line}) == 1
    assert lines[2].split("  ")[0] == "resnet50"
    for words in ("IMAGENET1K_V2", "25.6 M", "224", "80.9 %"):
        assert words in lines[2]


def test_no_match_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="'resnet18'"):
        find("resnt18")


def test_a_part_of_names_leads_to_its_pattern() -> None:
    with pytest.raises(UserError, match=r"Did you mean '\*dinov2\*'"):
        find("dinov2")
    assert "vit_small_patch14_dinov2" in {entry.name for entry in find("*dinov2*")}


def test_the_command_answers_with_one_line_and_2_where_nothing_matches() -> None:
    command = [sys.executable, str(PROJECT / "scripts" / "models.py"), "vgq16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: no network's name matches 'vgq16'. Did you mean 'vgg16'?\n"


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_model_file_says_what_the_network_is(file: Path) -> None:
    opening = file.read_text(encoding="utf-8").splitlines()[0]
    config: Any = OmegaConf.load(file)
    base = config.get("defaults", ["torchvision"])[0]
    settings = OmegaConf.merge(OmegaConf.load(file.with_name(f"{base}.yaml")), config)

    assert opening.startswith("# ")
    assert settings.source in SOURCES
    if OmegaConf.is_missing(settings, "name") or settings.source != "torchvision":
        return
    default = get_model_weights(settings.name).DEFAULT
    assert f"{default.meta['num_params'] / 1e6:.1f} M parameters" in opening
    assert f"{default.transforms().crop_size[0]} pixels" in opening
    assert f"{default.meta['_metrics']['ImageNet-1K']['acc@1']:.1f} % ImageNet top-1" in opening
