"""What TensorBoard shows of a tested run: figures, mistakes, and its line among other runs."""

from pathlib import Path

import torch
from matplotlib import rc_context
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.transforms.functional import to_tensor

from graft.finished_run import FinishedRun
from graft.inference.explanation import Overlays
from graft.inference.model import decoded_images
from graft.reporting.board.images import as_rgb, title
from graft.reporting.figures.image_grid import image_grid
from graft.reporting.report.tested import Outcome, outcome_of, plots_of, ranked_mistakes

DONE = "when done"  # TensorBoard sorts groups by name: after train and val.
HEAT = "Grad-CAM: yellow\nmatters most"


def show_results(folder: Path, run: FinishedRun, overlays: Overlays) -> None:
    """Write what the best checkpoint makes of the test images into a folder of event files."""
    tested = outcome_of(run, overlays)
    with SummaryWriter(str(folder)) as writer:
        with rc_context({"text.parse_math": False}):  # A class may be called $a$.
            for plot in plots_of(tested):
                writer.add_figure(f"{DONE}/{plot.title}", plot.draw())
        if "mistakes" in run.task.sections:
            show_mistakes(writer, tested)
        for summary in hparams(compared_settings(run), compared_metrics(run)):
            writer.file_writer.add_summary(summary)
        for name, value in compared_metrics(run).items():
            writer.add_scalar(name, value)


def show_mistakes(writer: SummaryWriter, tested: Outcome) -> None:
    """Write the worst mistakes on test images, with heat maps where the network has them."""
    indices = ranked_mistakes(tested)
    paths = [tested.root / tested.samples[index].path for index in indices]
    heat, values = tested.overlays.of(paths), tested.task.predict(tested.logits)
    images, titles = [], []
    decoded = decoded_images(tested.preprocessing, paths, ahead=len(paths))
    for index, (path, image, _) in zip(indices, decoded, strict=True):
        if image is not None and path is not None:  # It may have vanished.
            images.append(as_rgb(image, tested.bands))
            titles.append(title(tested.task, tested.samples[index].target, values[index].tolist()))
            if path in heat:
                images.append(to_tensor(heat[path]))
                titles.append(HEAT)
    if images:
        wrong = [text != HEAT for text in titles]
        writer.add_figure(f"{DONE}/Worst mistakes", image_grid(torch.stack(images), titles, wrong))


def compared_settings(run: FinishedRun) -> dict[str, str | int | float]:
    """Return the settings by which runs differ, for the table of all runs.

    TensorBoard sorts them by name and shows the first five until others are ticked: learning rate and model
    are among them.
    """
    settings = run.settings
    return {
        "model": run.network.partition(" ")[0],
        "task": run.task.name,
        "freeze": str(settings["freeze"]).lower(),
        "schedule": settings["finetuning"]["schedule"]["_target_"].rpartition(".")[2],
        "optimizer": settings["optimizer"]["_target_"].rpartition(".")[2],
        "learning rate": run.phases[0].head_learning_rate or settings["optimizer"]["lr"],
        "weight decay": float(settings["optimizer"].get("weight_decay", 0.0)),
        "batch size": settings["data"]["batch_size"],
        "epochs": run.metrics["epoch"],
        "pixels": run.preprocessing.crop[0],
        "seed": settings["seed"],
    }


def compared_metrics(run: FinishedRun) -> dict[str, float]:
    """Return the final metrics, under names of their own: a metric's curve would have a point too many."""
    names = [name for name in run.metrics if name.startswith(("test/", "val/")) and "ece" not in name]
    return {f"{DONE}/{name.replace('/', ' ')}": run.metrics[name] for name in names}
