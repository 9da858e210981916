"""`make benchmark` runs each way once, and compares what was measured."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PROJECT / "scripts"))
    return importlib.import_module("benchmarks.accuracy")


def test_a_section_takes_the_place_of_its_own_and_the_others_stay(accuracy: Any, tmp_path: Path) -> None:
    benchmark, page = importlib.import_module("benchmark"), tmp_path / "page.md"
    page.write_text(
        "# Benchmarks\n\nBy hand.\n\n## Start-up\n\nold\n\n## Prediction\n\nkept\n", encoding="utf-8"
    )

    benchmark.write_section(page, "Start-up", "new")
    benchmark.write_section(page, "Loading images", "first")

    parts = (
        "# Benchmarks",
        "By hand.",
        "## Loading images",
        "first",
        "## Start-up",
        "new",
        "## Prediction",
        "kept",
    )
    assert page.read_text(encoding="utf-8") == "\n\n".join(parts) + "\n"


def test_a_run_is_measured_once(accuracy: Any, tmp_path: Path) -> None:
    runs = iter([accuracy.Run(60.0, 1e9, {"val": 0.9, "test": 0.8})])
    first = accuracy.kept(tmp_path / "set" / "way-1.json", lambda: next(runs))
    assert accuracy.kept(tmp_path / "set" / "way-1.json", lambda: next(runs)) == first


def test_epochs_fit_into_the_time_by_the_runs_so_far(accuracy: Any) -> None:
    runs = {epochs: [accuracy.Run(20.0 + 10 * epochs, 0, {})] for epochs in (1, 2)}
    assert accuracy.epochs_within(60, runs) == 4
    assert accuracy.epochs_within(25, runs) < 2


def test_graft_is_compared_by_the_first_time_that_it_is_as_good(accuracy: Any) -> None:
    def runs(seconds: float, *tests: float) -> list[Any]:
        return [accuracy.Run(seconds, 0, {"val": 1.0, "test": test}) for test in tests]

    points = {
        accuracy.FASTAI: {1: runs(50, 0.7, 0.8), 4: runs(240, 0.8, 0.9)},
        accuracy.DEFAULT: {25: runs(20, 0.7, 0.9)},
        accuracy.AUTO: {1: runs(60, 0.85, 0.9), 2: runs(120, 0.9, 0.9)},
    }
    assert "0.850 in 240 s, Graft in 60 s: 4.0 times as fast" in accuracy.verdict(points)
    points[accuracy.FASTAI][4] = runs(240, 1.0, 1.0)
    assert "Graft does not reach it" in accuracy.verdict(points)
