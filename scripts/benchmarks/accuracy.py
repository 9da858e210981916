"""Accuracy over minutes: what fastai, AutoTimm and Graft reach in the time that they are given."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.frozen import graft
from benchmarks.measuring import WAYS, Run, run, table
from graft.training.summary import plural

FASTAI, AUTOTIMM, AUTO, DEFAULT = "fastai fine_tune", "AutoTimm", "Graft recipe=auto", "Graft default"
LOOKS = {  # Okabe & Ito's colours, for every eye
    FASTAI: ("#D55E00", "o"),
    AUTOTIMM: ("#0072B2", "s"),
    AUTO: ("#009E73", "^"),
    DEFAULT: ("#000000", "D"),
}
DEFAULT_EPOCHS = 25
ABOUT = (
    "Every way augments as it does by default. The time is that of the whole process, with nothing stored "
    "before; the runs of a way follow each other, and each seed makes its own splits. "
    "fastai and AutoTimm are given the epochs that fit, by their runs of one and two on the first seed. "
    "Graft's recipe ends early where fewer than 200 steps of fine-tuning fit. "
    "Graft and AutoTimm keep the epoch with the best validation accuracy, fastai's `fine_tune` keeps the "
    "last one, so compare the test accuracies."
)
Points = Mapping[str, Mapping[int, list[Run]]]  # by way, then by epochs or minutes: a run for each seed


def measure(roots: Mapping[int, Path], work: Path, minutes: Sequence[int], peers: Path, image: Path) -> str:
    """Return the section, and draw its curves; `roots` are the split images of each seed.

    Every run is a process of its own, and is kept in `work`: remove `work/accuracy` to measure again.
    """
    ways: dict[str, Callable[[Path, int, int], Run]] = {
        FASTAI: partial(peer, peers, "peer_fastai.py"),
        AUTOTIMM: partial(peer, peers, "peer_autotimm.py"),
        AUTO: partial(recipe, work),
        DEFAULT: partial(default, work),
    }

    def runs(way: str, amount: int) -> list[Run]:
        folder = work / "accuracy"
        return [
            kept(folder / root.name / f"{way}-{amount}.json", partial(ways[way], root, seed, amount))
            for seed, root in roots.items()
        ]

    points = {
        DEFAULT: {DEFAULT_EPOCHS: runs(DEFAULT, DEFAULT_EPOCHS)},
        AUTO: {budget: runs(AUTO, budget) for budget in minutes},
    }
    for way in (FASTAI, AUTOTIMM):
        points[way] = {epochs: runs(way, epochs) for epochs in (1, 2)}
        for budget in minutes:
            epochs = epochs_within(budget * 60, points[way])
            if epochs > max(points[way]):
                points[way][epochs] = runs(way, epochs)
    draw(points, image)
    header = ["way", "given", "median seconds, whole process", "validation", "test"]
    rows = [
        [way, f"{amount} min" if way == AUTO else plural(amount, "epoch"), *shown(found)]
        for way, by_amount in points.items()
        for amount, found in by_amount.items()
    ]
    drawn = f"![test accuracy over time]({image.name})"
    about = f"{ABOUT} Seeds: {', '.join(map(str, roots))}; mean ± standard deviation."
    return "\n".join([drawn, "", table(header, rows), "", verdict(points), "", about])


def kept(file: Path, measured: Callable[[], Run]) -> Run:
    """Return the run that a file holds, or measure it and write it there."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(measured())), encoding="utf-8")
    return Run(**json.loads(file.read_text(encoding="utf-8")))


def peer(python: Path, script: str, root: Path, seed: int, epochs: int) -> Run:
    """Fine-tune everything for so many epochs as that project does."""
    return run([f"{WAYS}/{script}", str(root), str(epochs), "everything", str(seed)], python=str(python))


def recipe(work: Path, root: Path, seed: int, minutes: int) -> Run:
    """Let Graft choose within so many minutes."""
    return graft(root, work, "recipe=auto", f"time_budget={minutes}m", f"seed={seed}", is_first=True)


def default(work: Path, root: Path, seed: int, epochs: int) -> Run:
    """Train Graft's default: a frozen backbone."""
    return graft(root, work, f"trainer.max_epochs={epochs}", f"seed={seed}", is_first=True)


def epochs_within(seconds: float, runs: Mapping[int, list[Run]]) -> int:
    """Return the epochs that take so long, on the line through the first seed's shortest and longest run."""
    few, many = min(runs), max(runs)
    shortest, longest = runs[few][0].seconds, runs[many][0].seconds
    per_epoch = max(
        (longest - shortest) / (many - few), 0.05 * longest
    )  # Two short runs may take equally long.
    return few + int((seconds - shortest) / per_epoch)


def mean(runs: Sequence[Run], split: str) -> float:
    return statistics.mean(run.result[split] for run in runs)


def deviation(runs: Sequence[Run], split: str) -> float:
    return statistics.stdev(run.result[split] for run in runs) if len(runs) > 1 else 0.0


def seconds(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def shown(runs: Sequence[Run]) -> list[str]:
    """Return the last cells of a row: median seconds, accuracies."""
    accuracies = [f"{mean(runs, split):.3f} ± {deviation(runs, split):.3f}" for split in ("val", "test")]
    return [f"{seconds(runs):.0f}", *accuracies]


def verdict(points: Points) -> str:
    """Say how soon Graft reaches the mean test accuracy of fastai's longest runs."""
    longest = points[FASTAI][max(points[FASTAI])]
    aim, time = mean(longest, "test"), seconds(longest)
    told = f"fastai's longest runs reach a test accuracy of {aim:.3f} in {time:.0f} s"
    graft_runs = [*points[DEFAULT].values(), *points[AUTO].values()]
    reached = [seconds(found) for found in graft_runs if mean(found, "test") >= aim]
    if not reached:
        return f"{told}; Graft does not reach it."
    return f"{told}, Graft in {min(reached):.0f} s: {time / min(reached):.1f} times as fast."


def draw(points: Points, image: Path) -> None:
    """Draw test accuracy over minutes, a curve for each way, with the standard deviation over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for way, by_amount in points.items():
        found = sorted(by_amount.values(), key=seconds)
        colour, marker = LOOKS[way]
        axes.errorbar(
            [seconds(runs) / 60 for runs in found],
            [mean(runs, "test") for runs in found],
            [deviation(runs, "test") for runs in found],
            marker=marker,
            color=colour,
            capsize=3,
            label=way,
        )
    axes.set_xlabel("minutes, whole process")
    axes.set_ylabel("test accuracy")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(image, dpi=110)
