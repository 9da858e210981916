"""Time to an accuracy: fastai, AutoTimm and Graft fine-tune for the epochs that fit into so many minutes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.frozen import graft
from benchmarks.measuring import WAYS, Run, run, table

Way = Callable[[int], Run]
FASTAI, AUTOTIMM, GRAFT = "fastai fine_tune", "AutoTimm", "Graft lp_ft"
CHOICE = (
    "Graft and AutoTimm keep the epoch with the best validation accuracy, fastai's `fine_tune` keeps the "
    "last one, so compare the test accuracies. Each point is one run."
)
COLOURS = {FASTAI: "#D55E00", AUTOTIMM: "#0072B2", GRAFT: "#009E73"}  # Okabe & Ito, for every eye


def measure(root: Path, work: Path, minutes: Sequence[int], peers: Path, image: Path) -> str:
    """Return the section, and draw its curves; every point is a whole process of its own."""

    def peer(script: str, *arguments: str) -> Way:
        def way(epochs: int) -> Run:
            return run([f"{WAYS}/{script}", str(root), str(epochs), *arguments], python=str(peers))

        return way

    ways: dict[str, Way] = {
        FASTAI: peer("peer_fastai.py"),
        AUTOTIMM: peer("peer_autotimm.py", "everything"),
        GRAFT: partial(lp_ft, root, work),
    }
    found: dict[str, dict[int, Run]] = {name: {1: way(1), 2: way(2)} for name, way in ways.items()}
    for budget in minutes:
        for name, way in ways.items():
            epochs = epochs_within(budget * 60, found[name])
            if epochs > max(found[name]):
                found[name][epochs] = way(epochs)
    draw(found, image)
    rows = [
        [name, str(epochs), f"{done.seconds:.0f}", f"{done.result['val']:.3f}", f"{done.result['test']:.3f}"]
        for name, runs in found.items()
        for epochs, done in runs.items()
    ]
    header = ["way", "epochs", "seconds, whole process", "validation", "test"]
    shown = f"![validation accuracy over time]({image.name})"
    verdicts = [verdict(found, "val", "validation"), verdict(found, "test", "test")]
    return "\n".join([shown, "", table(header, rows), "", *verdicts, "", CHOICE])


def epochs_within(seconds: float, runs: dict[int, Run]) -> int:
    """Return the epochs that take so long, on the line through the shortest and the longest run so far."""
    few, many = min(runs), max(runs)
    per_epoch = (runs[many].seconds - runs[few].seconds) / (many - few)
    per_epoch = max(per_epoch, 0.05 * runs[many].seconds)  # Two short runs may take equally long.
    return few + int((seconds - runs[few].seconds) / per_epoch)


def lp_ft(root: Path, work: Path, epochs: int) -> Run:
    """Fit the head to convergence, then fine-tune for so many epochs, with nothing stored before."""
    settings = ["augmentation=none", "finetuning=lp_ft", "finetuning.schedule.probe_epochs=1"]
    return graft(root, work, epochs + 1, *settings, "head.solver=lbfgs", is_first=True)


def verdict(found: dict[str, dict[int, Run]], split: str, name: str) -> str:
    """Say when Graft's accuracy on a split first is that of fastai's longest run."""
    longest = found[FASTAI][max(found[FASTAI])]
    reached = [r.seconds for r in found[GRAFT].values() if r.result[split] >= longest.result[split]]
    aim = f"- {name}: fastai's longest run reaches {longest.result[split]:.3f} in {longest.seconds:.0f} s"
    if not reached:
        return f"{aim}; no run of Graft does."
    return f"{aim}, Graft in {min(reached):.0f} s: {longest.seconds / min(reached):.1f} times as fast."


def draw(found: dict[str, dict[int, Run]], image: Path) -> None:
    """Draw validation accuracy over seconds, one curve a way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, runs), marker in zip(found.items(), "os^", strict=True):
        seconds = [done.seconds for done in runs.values()]
        accuracies = [done.result["val"] for done in runs.values()]
        axes.plot(seconds, accuracies, marker=marker, color=COLOURS[name], label=name)
    axes.set_xlabel("seconds, whole process")
    axes.set_ylabel("validation accuracy")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(image, dpi=110)
