"""The settings are the user interface: every key is explained, and `--help` is made from them."""

import re
from pathlib import Path

import pytest
import yaml

from graft.cli.arguments import quoted_texts
from graft.cli.checking import nearest_key
from graft.cli.config_files import entries, group_choices, help_page, known_keys
from graft.errors import UserError
from tests.conftest import PROJECT

CONFIGS = PROJECT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
UNEXPLAINED = ("_target_", "_partial_", "defaults", "source", "version")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_file_opens_with_what_it_is_for(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("# ") and "@package" not in line for line in lines[:2])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_key_with_a_value_has_a_comment(file: Path) -> None:
    previous = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = re.match(r"\s*([a-z_]+):\s*([^#\s].*)$", line)
        if entry and entry.group(1) not in UNEXPLAINED:
            assert " # " in line or previous.lstrip().startswith("#"), line
        previous = line


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_file_is_valid_yaml(file: Path) -> None:
    assert yaml.safe_load(file.read_text(encoding="utf-8")) is None or isinstance(
        yaml.safe_load(file.read_text(encoding="utf-8")), dict
    )


def test_the_first_page_of_help_has_what_people_change_first_and_every_choice() -> None:
    page = help_page(CONFIGS)
    first = [
        "data.root",
        "data.batch_size",
        "data.image_size",
        "freeze",
        "trainer.max_epochs",
        "optimizer.lr",
    ]
    choices = group_choices(CONFIGS)
    for word in [*(f"{key}=" for key in first), *choices["model"], *choices["experiment"], "--help GROUP"]:
        assert word in page
    assert max(map(len, page.splitlines())) <= 80


def test_help_of_all_names_every_key_with_its_comment_in_80_columns() -> None:
    page = help_page(CONFIGS, "all")
    for file in FILES:
        name = str(file.relative_to(CONFIGS).with_suffix(""))
        for key, value, _ in entries(CONFIGS, name) if file.parent.name != "hydra" else ():
            assert value is None or f"  {key}=" in page, key
    assert "room:" not in page
    assert "data.batch_size=32" in help_page(CONFIGS, "data")
    assert "trainer.max_epochs" not in help_page(CONFIGS, "data")
    assert max(map(len, page.splitlines())) <= 80
    with pytest.raises(UserError, match="Did you mean 'trainer'"):
        help_page(CONFIGS, "trainr")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("max_epochs", "trainer.max_epochs"),
        ("lr", "optimizer.lr"),
        ("frezee", "freeze"),
        ("batch_sise", "data.batch_size"),
    ],
)
def test_a_misspelled_key_finds_the_nearest(key: str, expected: str) -> None:
    assert nearest_key(key, known_keys(CONFIGS)) == f" Did you mean '{expected}'?"


def test_a_key_near_to_nothing_gets_no_suggestion() -> None:
    assert nearest_key("zzzzqqqq", known_keys(CONFIGS)) == ""


def test_a_table_with_any_name_reaches_hydra_as_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert quoted_texts(["data.file=labels (1).csv"], sweeps=False) == ["data.file='labels (1).csv'"]
    assert quoted_texts(["data.file=~/labels.csv"], sweeps=False) == ["data.file=/home/me/labels.csv"]
