"""Writes docs/results.md from the records of the runs."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import table

from measured.curve import draw_curve
from measured.rows import SECTIONS, Row, Section
from measured.runs import record_file

Record = Mapping[str, Any]

INTRODUCTION = """# Results

Every figure is of test images that no choice used: the best epoch is chosen on the validation split, and the
test split is read once. Each seed makes its own splits and trains its own network; a row is the mean and the
standard deviation over its seeds. Minutes are the median of whole processes on two AVX2 cores without a GPU.
Other work may have run beside them, so the processor's minutes, of both cores together, are given as well.
Frozen runs after the first find the features of the backbone cached. Rows without minutes were trained on a
GPU that several runs shared (NVIDIA H200, bf16-mixed; the records name it).

`make results` trains what is missing and writes this page; `docs/results/` has one JSON file for each run,
with its command. An interrupted measurement goes on where it stopped."""

COLUMNS: dict[str, Callable[[Record], float | None]] = {
    "validation accuracy": lambda record: record["metrics"].get("val/accuracy"),
    "test accuracy": lambda record: record["metrics"][TESTED],
    "macro F1": lambda record: record["metrics"]["test/f1"],
    "AUROC": lambda record: record["metrics"]["test/auroc"],
    "calibration error": lambda record: calibration_error(record["metrics"]),
}
TESTED = "test/accuracy"
TIMES = ("seconds", "processor_seconds")


def write_page(page: Path, records: Path) -> None:
    """Write the sections that have records."""
    parts = [INTRODUCTION]
    for name, section in SECTIONS.items():
        found = {row: read_records(records, name, row) for row in section.rows}
        if measured := {row: runs for row, runs in found.items() if runs}:
            parts += [f"## {section.title}", section.about]
            if section.curve:
                parts += [curve(section, measured, page.with_name(f"{name}.png"))]
            parts += [results_table(measured)]
            if section.budgets:
                parts += [budget_table(section, measured)]
            if section.folder is None:
                parts += [certainty_table(measured)]
            parts += [commands(section, measured)]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read_records(records: Path, section: str, row: Row) -> list[Record]:
    seeds = range(row.first, row.first + row.seeds)
    files = [record_file(records, section, row, seed) for seed in seeds]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def results_table(measured: Mapping[Row, Sequence[Record]]) -> str:
    rows = []
    for row, records in measured.items():
        values = [spread([value(record) for record in records]) for value in COLUMNS.values()]
        minutes = [minutes_of([r[time] for r in records if r[time] is not None]) for time in TIMES]
        rows.append([row.name, *values, *minutes, str(len(records))])
    return table(["settings", *COLUMNS, "minutes", "processor minutes", "seeds"], rows)


def budget_table(section: Section, measured: Mapping[Row, Sequence[Record]]) -> str:
    """Return what recipe=auto gains over the fixed schedule, and what it took of its budget."""
    rows = []
    for minutes, auto, fixed in section.budgets:
        pairs = list(zip(measured.get(auto, ()), measured.get(fixed, ()), strict=False))
        gains = [
            ours["metrics"]["test/accuracy"] - other["metrics"]["test/accuracy"] for ours, other in pairs
        ]
        if gains:
            error = f" ± {statistics.stdev(gains) / len(gains) ** 0.5:.3f}" if len(gains) > 1 else ""
            took = max(ours["seconds"] for ours, _ in pairs) / (60 * minutes)
            rows.append(
                [f"{minutes} min", f"{statistics.mean(gains):+.3f}{error}", f"{took:.2f}", str(len(gains))]
            )
    header = ["budget", "test accuracy, auto minus fixed (± standard error)", "most of the budget", "seeds"]
    return table(header, rows)


def curve(section: Section, measured: Mapping[Row, Sequence[Record]], file: Path) -> str:
    ways = {
        way: {
            images: [record["metrics"][TESTED] for record in measured[row]]
            for images, row in rows.items()
            if row in measured
        }
        for way, rows in section.curve.items()
    }
    draw_curve(file, {way: found for way, found in ways.items() if found})
    return f"![test accuracy over the images of a class]({file.name})"


def calibration_error(metrics: Mapping[str, float]) -> float | None:
    """Return it after temperature scaling, which cannot be fitted where no validation image is wrong."""
    return metrics.get("test/ece_calibrated", metrics.get("test/ece"))


def minutes_of(seconds: Sequence[float]) -> str:
    """Return the median in minutes; records of runs that shared a GPU have none."""
    return f"{statistics.median(seconds) / 60:.1f}" if seconds else "-"


def spread(given: Sequence[float | None]) -> str:
    """Return the mean and, of several, the standard deviation; a dash where there are none."""
    values = [value for value in given if value is not None]
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def certainty_table(measured: Mapping[Row, Sequence[Record]]) -> str:
    """Return the accuracy by the annotators' probability of a defect, over the test images of all seeds."""
    keys = sorted({key for records in measured.values() for r in records for key in r["by_probability"]})
    rows = []
    for row, records in measured.items():
        cells = [row.name]
        for key in keys:
            right, count = (sum(r["by_probability"].get(key, (0, 0))[i] for r in records) for i in (0, 1))
            cells.append(f"{right / count:.3f} ({count})" if count else "-")
        rows.append(cells)
    header = ["accuracy (test images) by the annotators' probability", *(f"p = {key}" for key in keys)]
    return table(header, rows)


def commands(section: Section, measured: Mapping[Row, Sequence[Record]]) -> str:
    lines = [records[0]["command"] for records in measured.values()]
    return (
        "The first seed of each row:\n\n<!-- docs-test: not run: takes long -->\n```bash\n"
        + "\n".join(lines)
        + "\n```"
    )
