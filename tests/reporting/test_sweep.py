# room: reporting
"""The page of a sweep is one file, with its table, its figures, and what mattered."""

import math
from pathlib import Path

import numpy as np
import pytest

from graft.finished_run import SweepJob
from graft.reporting.figures.sweeps import scale_of
from graft.reporting.sweep import explained_share, write_sweep_page

HEADER = ["val/accuracy", "test/accuracy", "seconds", "runs", "settings"]


def page_of(jobs: list[SweepJob], keys: list[str], file: Path, rows: list[list[str]]) -> str:
    write_sweep_page(file, jobs, keys, [HEADER, *rows], "python train.py freeze=2")
    return file.read_text(encoding="utf-8")


def test_the_page_has_table_curves_lines_and_effects_and_loads_nothing(tmp_path: Path) -> None:
    jobs = [
        SweepJob([f"freeze={freeze}", f"seed={seed}"], curve={1: 0.5, 2: height}, validation=height)
        for freeze, height in (("<b>", 0.7), ("2", 0.9))
        for seed in (1, 2)
    ]
    rows = [["0.9", "0.8", "1.0", "2", "freeze=2"], ["failed", "", "", "", "freeze=7: no epoch"]]
    page = page_of(jobs, ["freeze", "seed"], tmp_path / "sweep.html", rows)
    assert page.count("<svg") == 3
    assert "freeze=7: no epoch" in page
    assert "python train.py freeze=2" in page
    assert "<b>" not in page
    assert "100.0" in page.split("What mattered")[1]
    for loaded in ("<script", "<link", "http://", "https://", "url(h"):
        assert loaded not in page.replace("http-equiv", "")


def test_one_run_and_runs_that_diverged_have_a_page(tmp_path: Path) -> None:
    one = SweepJob(["seed=1"], curve={1: 0.5}, validation=0.5)
    assert page_of([one], [], tmp_path / "one.html", []).count("<svg") == 1
    lost = SweepJob(["seed=2"], curve={1: math.nan}, validation=math.nan)
    assert page_of([one, lost], ["seed"], tmp_path / "two.html", []).count("<svg") == 1


def test_a_setting_that_decides_explains_all_and_one_that_does_not_explains_nothing() -> None:
    assert explained_share(["a", "a", "b", "b"], [1.0, 1.0, 2.0, 2.0]) == pytest.approx(1)
    assert explained_share(["a", "b", "a", "b"], [1.0, 1.0, 2.0, 2.0]) == 0
    assert explained_share(["a", "a", "b", "b"], [1.0, 1.0, 1.0, 1.0]) == 0


def test_what_chance_explains_does_not_count() -> None:
    chance = np.random.default_rng(0)
    shares = [explained_share(list("aabbccddee"), chance.normal(size=10).tolist()) for _ in range(200)]
    assert np.mean([share or 0 for share in shares]) < 0.2  # unadjusted 0.44


def test_numbers_that_do_not_repeat_explain_by_their_order_and_names_cannot_be_told() -> None:
    assert explained_share(["0.001", "0.01", "0.1", "1"], [1.0, 2.0, 3.0, 9.0]) == pytest.approx(1)
    assert explained_share(["a", "b", "c", "d"], [1.0, 2.0, 3.0, 9.0]) is None
    assert explained_share(["0.001", "0.01"], [1.0, 2.0]) is None
    chance = np.random.default_rng(0)
    rates = [str(10.0**n) for n in range(6)]
    shares = [explained_share(rates, chance.normal(size=6).tolist()) for _ in range(200)]
    assert np.mean([share or 0 for share in shares]) < 0.15  # unadjusted 0.2


def test_numbers_are_placed_by_size_and_names_side_by_side() -> None:
    assert scale_of(["0.01", "1", "0.1"]).positions == pytest.approx([0, 1, 0.5])  # by their logarithm
    assert scale_of(["0", "10", "5"]).positions == pytest.approx([0, 1, 0.5])
    assert scale_of(["true", "2", "true"]).positions == pytest.approx([0.25, 0.75, 0.25])
    many = scale_of([str(number) for number in range(100)])
    assert len(many.ticks) < 20
