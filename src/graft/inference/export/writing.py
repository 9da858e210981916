"""Writes a checkpoint as ONNX, torch.export or OpenVINO: verified on real images, then timed."""

import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from graft.data.sample import Sample
from graft.data.sources import open_source
from graft.data.transforms import normalisation
from graft.errors import UserError, import_extra
from graft.inference.evaluation import labelled_images
from graft.inference.model import Model
from graft.inference.runtimes import TORCH_METADATA, checkpoint_model, load_model
from graft.inference.search import find_images
from graft.models.checkpoints import LoadedClassifier, load_classifier
from graft.models.engines.onnxruntime import onnx_model
from graft.models.engines.run import METADATA
from graft.preprocessing import Preprocessing
from graft.tasks.regression import Regression
from graft.tasks.task import Task

IMAGES = 32  # for the verification and in a timed batch
TOLERANCE = 1e-4  # largest difference of a probability, or of a number in standard deviations
TIMED_BATCHES = 7


@dataclass(frozen=True)
class Export:
    """A written file, what was measured of it on images, and how fast it is and the checkpoint."""

    file: Path
    images: int
    figure: str  # "difference of a probability", the largest, or the name of a metric
    value: float
    eager_value: float | None  # the checkpoint's, of a metric
    speed: float  # images per second, batches of 32
    eager_speed: float


def write_onnx(deployed: nn.Module, images: Tensor, text: str, file: Path) -> None:
    """Write one .onnx file, weights included, with the input `images` and the output `logits`."""
    onnx = import_extra("onnx", "export")
    model = onnx_model(deployed, images, "logits")
    onnx.helper.set_model_props(model, {METADATA: text})
    onnx.save(model, file)


def write_torch_export(deployed: nn.Module, images: Tensor, text: str, file: Path) -> None:
    """Write one .pt2 file that torch.export.load reads without Graft."""
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(deployed, (images,), dynamic_shapes=shapes, strict=False)
    torch.export.save(program, file, extra_files={TORCH_METADATA: text})


def write_openvino(deployed: nn.Module, images: Tensor, text: str, file: Path) -> None:
    """Write an .xml file and, beside it, the weights as .bin, in 32 bits."""
    openvino = import_extra("openvino", "export")
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        write_onnx(deployed, images, text, graph)
        model = openvino.Core().read_model(graph)
        model.set_rt_info(text, [METADATA])
        openvino.save_model(model, file, compress_to_fp16=False)


Write = Callable[[nn.Module, Tensor, str, Path], None]  # network, two images, metadata, file
FORMATS: dict[str, tuple[str, Write]] = {
    "onnx": (".onnx", write_onnx),
    "torch_export": (".pt2", write_torch_export),
    "openvino": (".xml", write_openvino),
}


def export(
    checkpoint: Path,
    format: str,  # noqa: A002 -- the setting's name
    output: Path,
    images: Sequence[Path] | str | None = None,
    include_preprocessing: bool = False,
    allow: Sequence[str] = (),
) -> Export:
    """Write the checkpoint in a format, verify it on 32 of the images, and time it.

    Images are files, or what `find_images` takes; None: those of the checkpoint's run. Raises UserError, and
    writes nothing, where a probability differs by more than 1e-4.
    """
    extension, write = FORMATS[format]
    with written_whole(output, extension, format) as file:
        loaded = load_classifier(checkpoint, allow)
        eager = checkpoint_model(loaded, torch.device("cpu"), allow)
        if isinstance(images, str):
            images = list(find_images(images, loaded.preprocessing.channels))
        if images is None:
            need = "input is needed: write input=FOLDER with images to verify on"
            root, samples = images_of_run(checkpoint, eager.task, need)
            images = [root / sample.path for sample in samples]
        images = spread(images)
        write_network(write, loaded, file, include_preprocessing)
        exported = load_model(file, allow)
        what, difference = largest_difference(eager, exported, images)
        if not difference <= TOLERANCE:
            raise UserError(
                f"format={format}: {what} differs from the checkpoint's by {difference:.1e}, "
                f"more than {TOLERANCE:.0e}; nothing is written."
            )
        eager_speed, speed = speeds([eager, exported])
    return Export(output, len(images), f"difference of {what}", difference, None, speed, eager_speed)


def write_network(
    write: Write, loaded: LoadedClassifier, file: Path, include_preprocessing: bool = False
) -> None:
    """Write the network with what a user of the file has to know, as JSON.

    Images are resized and cropped as `preprocessing` says before either kind of input; with
    `include_preprocessing` the file scales and normalises. `task` is what `Task.describe` returns.
    """
    preprocessing, network = loaded.preprocessing, loaded.classifier
    content = {"task": loaded.task, "preprocessing": preprocessing.to_dict()}
    text = json.dumps({**content, "include_preprocessing": include_preprocessing})
    images = black(preprocessing, 2)  # One would fix the size of the batch.
    if include_preprocessing:
        write(nn.Sequential(normalisation(preprocessing), network).eval(), images, text, file)
    else:
        write(network, images.float(), text, file)


def black(preprocessing: Preprocessing, number: int) -> Tensor:
    images = torch.zeros(number, preprocessing.channels, *preprocessing.crop)
    return images.byte() if images.shape[1] == 3 else images


@contextmanager
def written_whole(output: Path, extension: str, format: str) -> Iterator[Path]:  # noqa: A002
    """Give a file in a temporary folder, which is moved to `output` in the end, with all files beside it.

    Raises UserError where `output` has another extension, or its folder does not exist.
    """
    if output.suffix.lower() != extension or not output.parent.is_dir():
        raise UserError(f"output={output}: format={format} needs a {extension} file in a folder that exists.")
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The tracer's, about its own use of torch.
        results = Path(folder) / "results"
        results.mkdir()
        yield results / output.name
        for written in results.iterdir():
            written.replace(output.parent / written.name)


def images_of_run(
    checkpoint: Path, task: Task, need: str, split: str | None = None
) -> tuple[Path, list[Sample]]:
    """Return the folder and the images of the checkpoint's run, or of a split, by the settings in its folder.

    Raises UserError, which begins with `need`, where they are not to be found.
    """
    run = checkpoint.absolute().parent.parent
    try:
        data = OmegaConf.load(run / ".hydra" / "config.yaml").data
        settings: Any = OmegaConf.to_container(data, resolve=True)
        if split:
            return labelled_images(settings, task, split, run / "splits.csv")
        source = open_source(settings)
        return source.root, source.read(task, needs_train=False)
    except (OSError, OmegaConfBaseException, AttributeError, KeyError, UserError) as error:
        raise UserError(f"{need} ({run} does not lead to the run's images: {error}).") from error


def spread(images: Sequence[Path]) -> list[Path]:
    """Return 32 of the images at even distances, so that all folders have their share, or all of fewer."""
    number = min(IMAGES, len(images))
    return [images[index * len(images) // number] for index in range(number)]


def largest_difference(eager: Model, exported: Model, images: Sequence[Path]) -> tuple[str, float]:
    """Return what is compared, and by how much it differs at most, over batches of two sizes."""
    pair = [eager.logits(images), exported.logits(images, batch_size=max(1, len(images) - 1))]
    is_regression = isinstance(eager.task, Regression)
    first, second = pair if is_regression else map(eager.task.predict, pair)
    return "a normalised number" if is_regression else "a probability", float((first - second).abs().max())


def speeds(models: Sequence[Model]) -> list[float]:
    """Return the images per second of each model: the median of batches run in turn, after one each."""
    batch = black(models[0].preprocessing, IMAGES)
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for _ in range(1 + TIMED_BATCHES):
            for model, taken in zip(models, seconds, strict=True):
                began = time.perf_counter()
                model.network(batch)
                taken.append(time.perf_counter() - began)
    return [IMAGES / statistics.median(taken[1:]) for taken in seconds]
