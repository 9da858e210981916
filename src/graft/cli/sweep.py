"""The end of a sweep: its table, in the terminal and as results.csv, and the commands that come next."""

import csv
import math
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial  # room: reporting
from pathlib import Path
from statistics import fmean, stdev

from graft.cli.process import one_line
from graft.errors import UserError
from graft.finished_run import SEED, FinishedRun, SweepJob
from graft.training.summary import PROJECT, executable, from_here

FAILED = "failed"
WIDTH, LEAST_WIDTH = 80, 24  # columns of the table, and of its settings


@dataclass
class Configuration:
    """The jobs of a sweep with the same settings, whatever their seeds."""

    settings: str  # those that differ within the sweep, as they are typed
    done: list[SweepJob] = field(default_factory=list)
    failed: list[SweepJob] = field(default_factory=list)

    @property
    def rank(self) -> tuple[bool, str, float]:
        """Lower is better, by the mean of the monitored metric: the test decides nothing."""
        mean = fmean(map(cost, self.done)) if self.done else math.nan
        return math.isnan(mean), self.done[0].monitor if self.done else "", mean


def cost(job: SweepJob) -> float:
    return job.validation if job.lower_is_better else -job.validation


def finished_job(overrides: Sequence[str], run: FinishedRun) -> SweepJob:
    monitor = run.settings["monitor"]
    return SweepJob(
        overrides,
        monitor=monitor,
        lower_is_better=run.lower_is_better,
        curve=run.history.get(monitor, {}),
        validation=run.metrics[monitor],
        test=run.metrics.get(monitor.replace("val/", "test/", 1), math.nan),
        seconds=run.metrics["seconds"],
    )


def failed_job(overrides: Sequence[str], error: Exception) -> SweepJob:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return SweepJob(overrides, kind + one_line(error))


def end_sweep(jobs: Sequence[SweepJob], folder: Path) -> None:
    """Write `results.csv` and `sweep.html` into the sweep's folder; print the table and what comes next."""
    keys = varied_keys(jobs)
    ranked = ranked_configurations(jobs, keys)
    table = table_of(ranked, keys)
    write_csv(folder / "results.csv", ranked, keys)
    failures = sum(bool(job.error) for job in jobs)
    show(f"\nsweep       {len(jobs)} jobs, {failures} failed; best on validation images first\n")
    show(*aligned(table), "", f"results     {from_here(folder / 'results.csv')}")
    best = min(ranked[0].done, key=cost, default=None)
    if not best:
        return
    command = shlex.join([executable("python"), from_here(PROJECT / "train.py"), *best.overrides])
    from graft.reporting.results import attempt  # room: reporting
    from graft.reporting.sweep import write_sweep_page  # room: reporting

    done = [job for group in ranked for job in group.done]  # room: reporting
    page = partial(write_sweep_page, folder / "sweep.html", done, keys, table, command)  # room: reporting
    if attempt("sweep.html is not written", page):  # room: reporting
        show(f"page        {from_here(folder / 'sweep.html')}")  # room: reporting
    show("next", f"  repeat the best\n    {command}")
    if any(folder.glob("*/tensorboard")):
        curves = shlex.join([executable("tensorboard"), "--logdir", from_here(folder)])
        show(f"  compare the curves\n    {curves}")


def show(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def varied_keys(jobs: Sequence[SweepJob]) -> list[str]:
    """Return the settings that differ between jobs; the seed comes last."""
    keys = dict.fromkeys(key for job in jobs for key in job.settings)
    varied = [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]
    return sorted(varied, key=lambda key: key == SEED)


def ranked_configurations(jobs: Iterable[SweepJob], keys: Sequence[str]) -> list[Configuration]:
    """Return the configurations, the best first, those without a finished job last."""
    groups: dict[str, Configuration] = {}
    for job in jobs:
        settings = job.described([key for key in keys if key != SEED])
        group = groups.setdefault(settings, Configuration(settings))
        (group.failed if job.error else group.done).append(job)
    return sorted(groups.values(), key=lambda group: group.rank)


def table_of(ranked: Sequence[Configuration], keys: Sequence[str]) -> list[list[str]]:
    """Return the header, a row for every configuration that has a result, and one for every failed job."""
    monitors = {job.monitor for group in ranked for job in group.done}
    monitor = monitors.pop() if len(monitors) == 1 else "val"
    rows = [[monitor, monitor.replace("val", "test", 1), "seconds", "runs", "settings"]]
    for group in ranked:
        if group.done:
            seconds = f"{fmean(job.seconds for job in group.done):.1f}"
            numbers = [
                spread([job.validation for job in group.done]),
                spread([job.test for job in group.done]),
            ]
            rows.append([*numbers, seconds, str(len(group.done)), group.settings])
    failed = [job for group in ranked for job in group.failed]
    return rows + [[FAILED, "", "", "", f"{job.described(keys)}: {job.error}"] for job in failed]


def spread(values: Sequence[float]) -> str:
    """Return the mean and, of several seeds, the standard deviation (of a sample: divided by n - 1)."""
    if any(map(math.isnan, values)):
        return "-"
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the table as lines, numbers to the right, settings and errors wrapped."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    margin = sum(widths) + 2 * len(widths) + 2
    lines = []
    for *numbers, settings in table:
        if numbers[0] == FAILED:
            lines += textwrap.wrap(f"  {FAILED}  {settings}", WIDTH, subsequent_indent=" " * 10)
            continue
        first = "".join(f"  {number:>{width}}" for number, width in zip(numbers, widths, strict=True))
        wrapped = textwrap.wrap(settings, max(LEAST_WIDTH, WIDTH - margin), break_on_hyphens=False)
        lines += [f"{first}  {wrapped[0]}", *(" " * margin + line for line in wrapped[1:])]
    return lines


def write_csv(file: Path, ranked: Sequence[Configuration], keys: Sequence[str]) -> None:
    """Write the same as plain numbers: a row for every configuration, and one for every failed job."""
    columns = [*keys, "runs", "monitor", "val", "val_std", "test", "test_std", "seconds", "error"]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        for group in (group for group in ranked if group.done):
            first = group.done[0]
            row: dict[str, object] = {**first.settings, "runs": len(group.done), "monitor": first.monitor}
            row[SEED] = " ".join(job.settings.get(SEED, "") for job in group.done)
            for name, kind in (("val", "validation"), ("test", "test"), ("seconds", "seconds")):
                values = [getattr(job, kind) for job in group.done]
                row[name] = fmean(values)
                has_spread = len(values) > 1 and not any(map(math.isnan, values))  # Python 3.11 fails on NaN.
                row[f"{name}_std"] = stdev(values) if has_spread else ""
            writer.writerow(row)
        writer.writerows({**job.settings, "error": job.error} for group in ranked for job in group.failed)
