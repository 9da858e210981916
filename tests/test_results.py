"""`make results` keeps one record for each run, and writes its page from the records alone."""

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from graft.data.tables import read_rows
from tests.conftest import PROJECT


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PROJECT / "scripts"))
    return importlib.import_module


def record(accuracy: float) -> dict[str, Any]:
    names = ("val/accuracy", "test/accuracy", "test/f1", "test/auroc", "test/ece")
    return {
        "command": "python train.py data=elpv seed=1",
        "seconds": 60.0,
        "processor_seconds": 90.0,
        "metrics": dict.fromkeys(names, accuracy),
        "by_probability": {"0.00": [9, 10], "1.00": [3, 4]},
    }


def test_the_page_has_mean_and_deviation_of_the_seeds_that_are_there(measured: Any, tmp_path: Path) -> None:
    rows, runs, page = (measured(f"measured.{name}") for name in ("rows", "runs", "page"))
    default, second = rows.SECTIONS["elpv"].rows[:2]
    for seed, accuracy in ((1, 0.80), (2, 0.84)):
        runs.write_record(runs.record_file(tmp_path, "elpv", default, seed), record(accuracy))
    page.write_page(tmp_path / "results.md", tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "0.820 ± 0.028" in text
    assert "| 1.0 | 1.5 | 2 |" in text
    assert "0.900 (20) | 0.750 (8) |" in text
    assert f"| {second.name} |" not in text
    assert "## Waste" not in text


def test_every_run_has_a_file_of_its_own(measured: Any, tmp_path: Path) -> None:
    rows, runs = measured("measured.rows"), measured("measured.runs")
    files = [
        runs.record_file(tmp_path, name, row, seed)
        for name, section in rows.SECTIONS.items()
        for row in section.rows
        for seed in range(1, row.seeds + 1)
    ]
    assert len(set(files)) == len(files)


def test_images_are_counted_by_the_annotators_probability(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = measured("measured.runs")
    labels = [(Path("a.png"), 0.0, "mono"), (Path("b.png"), 1.0, "poly"), (Path("c.png"), 1.0, "poly")]
    monkeypatch.setattr(runs, "read_labels", lambda: labels)
    lines = ["path,label,predicted", "x/a.png,f,f", "y/b.png,d,f", "y/c.png,d,d"]
    (tmp_path / "predictions.csv").write_text("\n".join(lines), encoding="utf-8")
    tested = runs.read_tested(tmp_path)
    assert runs.by_probability(tested) == {"0.00": (1, 1), "1.00": (1, 2)}
    assert json.dumps(runs.by_probability(tested))


def test_a_regression_on_the_probability_is_measured_as_two_classes(
    measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = measured("measured.runs")
    names, given, found = ("a.png", "b.png", "c.png", "d.png"), (0.0, 0.33, 0.67, 1.0), (-0.1, 0.6, 0.4, 0.9)
    labels = [(Path(name), p, "mono") for name, p in zip(names, given, strict=True)]
    monkeypatch.setattr(runs, "read_labels", lambda: labels)
    tested = [
        {"path": name, "probability": str(p), "predicted probability": str(value)}
        for name, p, value in zip(names, given, found, strict=True)
    ]
    metrics = runs.as_classes(tested)
    assert metrics["test/accuracy"] == 0.5
    assert metrics["test/auroc"] == 0.75
    assert runs.by_probability(tested) == {"0.00": (1, 1), "0.33": (0, 1), "0.67": (0, 1), "1.00": (1, 1)}


def test_a_table_has_as_many_cells_of_each_class_as_its_name_says(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = measured("measured.tables")
    cells = [
        {"path": f"{label}/{n}.png", "label": label, "probability": p, "split": ""}
        for label, p in (("d", "1.0"), ("f", "0.33"))
        for n in range(40)
    ]
    monkeypatch.setattr(tables, "read_cells", lambda: cells)
    tables.write_table(tmp_path / "elpv-10-seed1.csv")
    rows = read_rows(tmp_path / "elpv-10-seed1.csv")[1].values()
    counts = Counter((row["label"], row["split"]) for row in rows)
    assert counts == {(c, s): n for c in "df" for s, n in (("train", 8), ("val", 2), ("test", 10))}
    assert len({row["path"] for row in rows}) == len(rows)

    monkeypatch.setattr(tables, "read_cells", lambda: [{**cell, "probability": "1.0"} for cell in cells])
    tested = []
    for fold in range(1, 6):
        tables.write_table(tmp_path / f"elpv-fold{fold}.csv")
        rows = read_rows(tmp_path / f"elpv-fold{fold}.csv")[1].values()
        tested += [row["path"] for row in rows if row["split"] == "test"]
        counts = Counter((row["label"], row["split"]) for row in rows)
        assert counts == {(c, s): n for c in "df" for s, n in (("train", 27), ("val", 5), ("test", 8))}
    assert sorted(tested) == sorted(cell["path"] for cell in cells)

    monkeypatch.setattr(tables, "read_cells", lambda: cells)
    tables.write_table(tmp_path / "elpv-certain.csv")
    assert {row["label"] for row in read_rows(tmp_path / "elpv-certain.csv")[1].values()} == {"d"}


def test_few_images_are_drawn_as_a_curve(measured: Any, tmp_path: Path) -> None:
    rows, runs, page = (measured(f"measured.{name}") for name in ("rows", "runs", "page"))
    for row in rows.SECTIONS["elpv-few"].curve["default"].values():
        runs.write_record(runs.record_file(tmp_path, "elpv-few", row, 1), record(0.8))
    page.write_page(tmp_path / "results.md", tmp_path)
    assert "(elpv-few.png)" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert (tmp_path / "elpv-few.png").stat().st_size > 1000
