"""The rooms of the house: who imports whom, how much a newcomer reads, and which can be taken out."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, write_images

SOURCE = PROJECT / "src" / "graft"
# Files beside the rooms that every room may use; they import no room.
SHARED = {"errors", "preprocessing", "settings", "files", "memory"}
ARROWS = {
    "models": set(),
    "tasks": set(),
    "data": {"tasks"},
    "finished_run": {"tasks", "data"},
    "features": {"models", "data", "tasks"},  # room: features
    "recipes": {"training", "features", "models", "data", "tasks"},  # room: recipes
    "training": {"models", "data", "tasks", "finished_run", "features"},
    "inference": {"models", "data", "tasks", "finished_run"},
    "reporting": {"tasks", "data", "inference", "finished_run"},  # room: reporting
    "cli": {"models", "data", "tasks", "features", "training", "inference", "reporting", "finished_run"}
    | {"recipes"},
    "__init__": {"inference", "cli"},
} | {name: set() for name in SHARED}
MOST_READ = 1600  # lines: an hour
LEAVES = {  # with what goes with them
    "reporting": (),  # room: reporting
    "features": ("recipes",),  # room: features
    "recipes": (),  # room: recipes
    "inference/export": (),  # room: inference/export
}
MARK = "# room: "


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    """Return the rooms that a file imports anywhere, also within functions and for types alone."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports name the whole path"
            is_package = node.module == "graft"
            modules += [f"graft.{a.name}" for a in node.names] if is_package else [node.module or ""]
    rooms = {module.split(".")[1] for module in modules if module.startswith("graft.")}
    return (rooms & ARROWS.keys()) - {room_of(file)}


def test_rooms_import_only_the_rooms_that_they_may() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert {room_of(file) for file in files} == set(ARROWS)
    wrong = {
        f"{file.relative_to(SOURCE)} imports {room}"
        for file in files
        for room in imported_rooms(file)
        if room not in ARROWS[room_of(file)] | SHARED
    }
    assert not wrong


def test_the_rooms_have_no_circle() -> None:
    below: dict[str, set[str]] = {}
    while len(below) < len(ARROWS):
        free = [room for room in ARROWS if room not in below and ARROWS[room] & ARROWS.keys() <= below.keys()]
        assert free, "the rooms that are left import each other"
        below |= {room: ARROWS[room] for room in free}


def test_features_are_optional_in_training() -> None:
    for file in (SOURCE / "training").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if not text.startswith(f"{MARK}features"):
            lines = [line for line in text.splitlines() if "graft.features" in line]
            assert all(line.endswith(f"{MARK}features") for line in lines), file


def test_the_reading_tour_takes_an_hour() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tour = page.split("## Reading tour", 1)[1].split("\n## ", 1)[0]
    files = re.findall(r"`(src/graft/[\w/]+\.py)`", tour)
    assert len(files) > 8
    lines = sum(len((PROJECT / file).read_text(encoding="utf-8").splitlines()) for file in files)
    assert lines <= MOST_READ


def without_room(project: Path, room: str) -> None:
    """Take a leaf room out of a copy of the project: its folder, the marked lines and the marked files."""
    shutil.rmtree(project / "src" / "graft" / room)
    mark = f"{MARK}{room}"
    for file in project.rglob("*"):
        if file.suffix not in (".py", ".yaml", ".toml", ".md") or not file.is_file():
            continue
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and lines[0].startswith(mark):
            file.unlink()
        elif any(mark in line for line in lines):
            kept = [line for line in lines if not line.rstrip().endswith(mark) and not line.startswith(mark)]
            file.write_text("".join(kept), encoding="utf-8")


def copy_of_project(folder: Path) -> Path:
    for name in ("src", "configs", "scripts", "tests"):
        shutil.copytree(
            PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.mark.parametrize("room", LEAVES)
def test_a_leaf_room_can_be_taken_out_and_the_rest_trains(tmp_path: Path, room: str) -> None:
    project = copy_of_project(tmp_path / "project")
    for gone in (room, *LEAVES[room]):
        if (project / "src" / "graft" / gone).is_dir():  # else it had been taken out before
            without_room(project, gone)
    left = [f for f in project.rglob("*.py") if f"graft.{room.replace('/', '.')}" in f.read_text("utf-8")]
    assert left == [project / "tests" / "test_rooms.py"] or not left
    write_images(tmp_path / "images" / "dark", 6, 80, seed=1)
    write_images(tmp_path / "images" / "light", 6, 180, seed=2)
    settings = ["model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"]
    settings += [f"data.root={tmp_path / 'images'}", "data.batch_size=4", "trainer.max_epochs=1"]
    environment = {"PYTHONPATH": str(project / "src"), "GRAFT_CACHE": str(tmp_path / "cache")}

    def python(folder: Path, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stdout + done.stderr

    python(tmp_path, str(project / "train.py"), *settings, "hydra.run.dir=run")
    assert (tmp_path / "run" / "metrics.json").is_file()
    has_report = (project / "src" / "graft" / "reporting").is_dir()
    assert (tmp_path / "run" / "report.html").is_file() == has_report
    # Their packages come with `make test-browser` and `make docs-test`.
    ignored = ("--ignore=tests/browser", "--ignore=tests/docs")
    python(project, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", *ignored)
