"""What TensorBoard shows of a tested run: figures, mistakes, embeddings, and its line among other runs."""

from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from graft.data.transforms import with_image_size
from graft.features.dataset import FeatureDataset
from graft.inference.model import decoded_images
from graft.inference.prediction_files import as_text
from graft.preprocessing import Preprocessing
from graft.reporting.board.start import SHOWN, chosen, denormalised, writer_of
from graft.reporting.figures.confusion import confusion_figure
from graft.reporting.figures.image_grid import image_grid
from graft.reporting.figures.names import shortened
from graft.reporting.figures.precision_recall import precision_recall_figure
from graft.reporting.report.images import confident_mistakes
from graft.reporting.results import FinishedRun

MOST_EMBEDDED = 200  # validation images
THUMBNAIL = 48  # pixels of their sides


def show_results(run: FinishedRun) -> None:
    """Write what the best checkpoint makes of validation and test images; nothing without TensorBoard."""
    writer = writer_of(run.trainer)
    if writer is None:
        return
    kept, names = run.predictions, run.data.class_names
    predicted = kept.probabilities.argmax(dim=1)
    writer.add_figure("test/confusion matrix", confusion_figure(kept.labels, predicted, names))
    curves = precision_recall_figure(kept.probabilities, kept.labels, names)
    writer.add_figure("test/precision and recall", curves)
    show_mistakes(writer, run)
    show_validation(writer, run)
    for logger in run.trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(compared_settings(run), compared_metrics(run))
    writer.close()


def show_mistakes(writer: SummaryWriter, run: FinishedRun) -> None:
    """Write the most confident mistakes on test images, with heat maps where the network has them."""
    kept, data = run.predictions, run.data
    places = confident_mistakes(kept.probabilities.float().numpy(), kept.labels.numpy())
    if not places:
        return
    assert data.preprocessing is not None
    tested = data.images("test", augmented=False)
    seen = denormalised(torch.stack([tested[place, None][0] for place in places]), data.preprocessing)
    heat = heat_maps(run, places)
    images, titles = [], []
    for number, place in enumerate(places):
        shares = kept.probabilities[place]
        label, other = (data.class_names[int(n)] for n in (kept.labels[place], shares.argmax()))
        images.append(seen[number])
        titles.append(title(label, other, float(shares.max())))
        if heat is not None:
            images.append(heat[number])
            titles.append("where it looked\n")
    wrong = [text.startswith("is ") for text in titles]
    writer.add_figure("test/most confident mistakes", image_grid(torch.stack(images), titles, wrong))


def heat_maps(run: FinishedRun, places: list[int]) -> Tensor | None:
    """Return Grad-CAM overlays `[N, 3, H, W]`, 0 to 1, of test images; None where there can be none."""
    paths = [run.data.root / run.data.samples["test"][place].path for place in places]
    drawn = run.overlays.of(paths)
    if len(drawn) < len(places):
        return None  # grad-cam is not installed, the network has no feature maps, or a image is gone.
    return torch.from_numpy(np.stack([np.asarray(drawn[path]) for path in paths])).permute(0, 3, 1, 2) / 255


@torch.inference_mode()
def show_validation(writer: SummaryWriter, run: FinishedRun) -> None:
    """Write validation images with their predictions, and their features for the projector."""
    data, module = run.data, run.module
    dataset = data.images("val", augmented=False)
    places = chosen(len(dataset), MOST_EMBEDDED, data.seed)
    assert data.preprocessing is not None
    stored = data.features.get("val")
    if module.tail is not None and module.tail.is_head and isinstance(stored, FeatureDataset):
        features = stored.__getitems__([(place, None) for place in places])[0]
    else:
        device = next(module.parameters()).device
        backbone = module.classifier.backbone.eval()
        batches = [
            torch.stack([dataset[place, None][0] for place in places[start : start + data.batch_size]])
            for start in range(0, len(places), data.batch_size)
        ]
        features = torch.cat([backbone(batch.to(device)).float().cpu() for batch in batches])
    head = module.classifier.head.eval()
    shares = head(features.to(next(head.parameters()).device)).float().softmax(dim=1).cpu()
    labels = torch.tensor([dataset.labels[place] for place in places])
    names, predicted = data.class_names, shares.argmax(dim=1)
    some = chosen(len(places), SHOWN, data.seed)  # The first ones would all be of the first class.
    titles = [title(names[int(labels[n])], names[int(predicted[n])], float(shares[n].max())) for n in some]
    wrong = (labels != predicted)[some].tolist()
    seen = denormalised(torch.stack([dataset[places[n], None][0] for n in some]), data.preprocessing)
    writer.add_figure("images/validation, with predictions", image_grid(seen, titles, wrong))
    samples = data.samples["val"]
    rows = [
        [names[int(label)], names[int(guess)], as_text(samples[place].path)]
        for place, label, guess in zip(places, labels, predicted, strict=True)
    ]
    small = thumbnails(data.preprocessing, [data.root / samples[place].path for place in places])
    header = ["label", "predicted", "path"]
    writer.add_embedding(features, rows, small, tag="validation features", metadata_header=header)


def title(label: str, predicted: str, probability: float) -> str:
    """Return what a image is and what it was taken for, in two lines that fit above it."""
    return f"is {shortened(label, 22)}\ncalled {shortened(predicted, 14)} {probability:.0%}"


def thumbnails(preprocessing: Preprocessing, paths: list[Path]) -> Tensor:
    """Return the images, resized and cropped as for the network, `[N, 3, 48, 48]`, 0 to 1."""
    decoded = decoded_images(with_image_size(preprocessing, THUMBNAIL), paths, ahead=32)
    gone = torch.zeros(3, THUMBNAIL, THUMBNAIL, dtype=torch.uint8)  # Its features may still be stored.
    return torch.stack([gone if image is None else image for _, image, _ in decoded]) / 255


def compared_settings(run: FinishedRun) -> dict[str, str | int | float]:
    """Return the settings by which runs differ, for the table of all runs.

    TensorBoard sorts them by name and shows the first five until others are ticked: learning rate and model
    are among them.
    """
    config, data = run.config, run.data
    assert data.preprocessing is not None
    return {
        "model": run.module.classifier.backbone.name,
        "freeze": str(config.freeze).lower(),
        "schedule": config.finetuning.schedule._target_.rpartition(".")[2],
        "optimizer": config.optimizer._target_.rpartition(".")[2],
        "learning rate": run.module.rates[0],
        "weight decay": float(config.optimizer.get("weight_decay", 0.0)),
        "batch size": data.batch_size,
        "epochs": run.metrics["epoch"],
        "pixels": data.preprocessing.crop[0],
        "with augmentation": str(data.augmentation.varies).lower(),
        "seed": config.seed,
    }


def compared_metrics(run: FinishedRun) -> dict[str, float]:
    """Return what came out, under names of their own: a metric's curve would have a point too many."""
    names = [name for name in run.metrics if name.startswith(("test/", "val/")) and "ece" not in name]
    return {f"final/{name.replace('/', ' ')}": run.metrics[name] for name in names}
