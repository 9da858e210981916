"""What TensorBoard shows while a run goes on: settings, training images, validation images, embeddings."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import lightning as L
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.tensorboard import SummaryWriter

from graft.data.bands import shown_bands
from graft.data.module import ImageDataModule
from graft.reporting.board.images import as_rgb, chosen, denormalised, title
from graft.tasks.prediction_table import as_text, joined
from graft.tasks.task import Task

SHOWN = 8  # images of a grid
MOST_EMBEDDED = 200  # validation images
THUMBNAIL, FRAME = 48, 4  # pixels of their sides, and of the frame in the colour of the label
INNER = THUMBNAIL - 2 * FRAME
SEEN = "what the network sees"  # TensorBoard sorts groups by name: after train and val.


class TensorBoardImages(L.Callback):
    """Shows training images at the start, and validation images with predictions and features at the end.

    `bands` are the three that are shown of images with more than three.
    """

    def __init__(self, bands: Sequence[int] = (0, 1, 2)) -> None:
        self.bands = list(bands)
        self.has_shown_start = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the settings and some training images, augmented as in the first epoch.

        Raises UserError for bands that the images lack.
        """
        writer, data = writer_of(trainer), data_of(trainer)
        self.refuse_absent_bands(data)
        if writer is None or self.has_shown_start:
            return
        self.has_shown_start = True
        from graft.reporting.figures.image_grid import image_grid  # matplotlib takes a while.

        settings = yaml.safe_dump(cast("Any", pl_module).description["settings"], sort_keys=False)
        writer.add_text("settings", "\n".join(f"    {line}" for line in settings.splitlines()))
        dataset, samples = data.dataset("train", augmented=True), data.images.samples["train"]
        indices = chosen(len(dataset), SHOWN, data.seed)
        images = torch.stack([dataset[index, data.seed + index][0] for index in indices])
        titles = [joined(data.images.task, samples[index].target) or "none" for index in indices]
        grid = image_grid(self._shown(images, data), titles, [False] * len(indices))
        writer.add_figure(f"{SEEN}/training images", grid)

    def refuse_absent_bands(self, data: ImageDataModule) -> None:
        if data.preprocessing.channels > 3:
            shown_bands(data.preprocessing.channels, self.bands)

    @torch.inference_mode()
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write validation images with the tested network's predictions, and their features."""
        writer = writer_of(trainer)
        if writer is not None:
            from graft.reporting.results import attempt

            # The run's results are written afterwards, whatever happens here.
            attempt(
                "TensorBoard lacks the validation images",
                lambda: self._show_validation(writer, data_of(trainer), pl_module),
            )

    def _show_validation(self, writer: SummaryWriter, data: ImageDataModule, module: Any) -> None:
        from graft.reporting.figures.image_grid import image_grid

        task: Task = module.task
        samples = data.images.samples["val"]
        indices = chosen(len(samples), MOST_EMBEDDED, data.seed)
        few = chosen(len(indices), SHOWN, data.seed)  # The first ones would all be of one class.
        features, small = self._embedded(module, data, indices)
        values = task.predict(module.classifier.head.eval()(features.to(module.device)).float().cpu())
        labels = [joined(task, samples[index].target) for index in indices]
        answers = [task.answer(row) for row in values.tolist()]
        titles = [title(task, samples[indices[n]].target, values[n].tolist()) for n in few]
        wrong = ["classes" in task.sections and answers[n] != labels[n] for n in few]
        images = self._shown(validation_images(data, [indices[n] for n in few]), data)
        writer.add_figure(f"{SEEN}/validation images and predictions", image_grid(images, titles, wrong))
        rows = [
            [label or "none", answer or "none", as_text(samples[index].path)]
            for label, answer, index in zip(labels, answers, indices, strict=True)
        ]
        header, tag = ["label", "predicted", "path"], "validation features"
        writer.add_embedding(features, rows, framed(small, labels), tag=tag, metadata_header=header)

    def _shown(self, images: Tensor, data: ImageDataModule) -> Tensor:
        return as_rgb(denormalised(images, data.preprocessing), self.bands)

    def _embedded(self, module: Any, data: ImageDataModule, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return features and thumbnails of validation images; the images themselves may be too large."""
        cached: Any = data.features.get("val")
        backbone = module.classifier.backbone.eval()
        features, thumbnails = [], []
        for first in range(0, len(indices), data.batch_size):
            batch = indices[first : first + data.batch_size]
            images = validation_images(data, batch)
            if cached is None:
                features.append(backbone(images.to(module.device)).float().cpu())
            else:
                features.append(cached.__getitems__([(index, None) for index in batch])[0])
            thumbnails.append(interpolate(self._shown(images, data), (INNER, INNER), mode="area"))
        return torch.cat(features), torch.cat(thumbnails)


def validation_images(data: ImageDataModule, indices: Sequence[int]) -> Tensor:
    """Return validation images `[N, C, H, W]`, normalised."""
    dataset = data.dataset("val", augmented=False)
    return torch.stack([dataset[index, None][0] for index in indices])


def framed(images: Tensor, labels: Sequence[str]) -> Tensor:
    """Return RGB images `[N, 3, INNER, INNER]` in frames whose colours stand for the most frequent labels.

    The projector itself shows no colours until someone chooses a column.
    """
    from matplotlib.colors import to_rgb

    from graft.reporting.figures.plots import COLOURS

    frequent = [label for label, _ in Counter(labels).most_common(len(COLOURS))]
    colours = [to_rgb(COLOURS[frequent.index(x)] if x in frequent else "grey") for x in labels]
    small = torch.tensor(colours)[:, :, None, None].repeat(1, 1, THUMBNAIL, THUMBNAIL)
    small[..., FRAME:-FRAME, FRAME:-FRAME] = images
    return small


def data_of(trainer: L.Trainer) -> ImageDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageDataModule)
    return data


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """Return what writes for TensorBoard; None where the run does not, or another process does."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None
