"""Writes a checkpoint as ONNX, torch.export or OpenVINO: verified on real images, then timed."""

import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from graft.data.folder import scan_folder
from graft.data.transforms import normalisation
from graft.errors import UserError, import_extra
from graft.inference.model import Model
from graft.inference.runtimes import METADATA, TORCH_METADATA, checkpoint_model, load_model
from graft.inference.search import find_images
from graft.memory import keep_freed_memory
from graft.models.checkpoints import LoadedClassifier, load_classifier

IMAGES = 32  # for the verification and in a timed batch
TOLERANCE = 1e-4  # largest difference of a probability
TIMED_BATCHES = 7

log = logging.getLogger(__name__)


class Deployed(nn.Module):
    """The classifier, with the scaling and normalisation of uint8 images before it where asked for."""

    def __init__(self, loaded: LoadedClassifier, include_preprocessing: bool) -> None:
        super().__init__()
        self.prepare = normalisation(loaded.preprocessing) if include_preprocessing else nn.Identity()
        self.classifier = loaded.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, num_classes]` of images `[B, 3, H, W]`, normalised float or uint8."""
        logits: Tensor = self.classifier(self.prepare(images))
        return logits


def metadata(loaded: LoadedClassifier, include_preprocessing: bool) -> str:
    """Return what a user of the file has to know, as JSON.

    Images are resized and cropped as `preprocessing` says before either kind of input; with
    `include_preprocessing` the file scales and normalises. Probabilities are softmax(logits / temperature).
    """
    return json.dumps(
        {
            "class_names": loaded.class_names,
            "preprocessing": loaded.preprocessing.to_dict(),
            "include_preprocessing": include_preprocessing,
            "temperature": loaded.temperature,
        }
    )


def example(loaded: LoadedClassifier, include_preprocessing: bool) -> Tensor:
    """Return an input of two images; one would fix the size of the batch."""
    dtype = torch.uint8 if include_preprocessing else torch.float32
    return torch.zeros(2, 3, *loaded.preprocessing.crop, dtype=dtype)


def write_onnx(deployed: nn.Module, images: Tensor, text: str, file: Path) -> None:
    """Write one .onnx file, weights included, with the input `images` and the output `logits`."""
    onnx = import_extra("onnx", "export")
    import_extra("onnxscript", "export")
    program = torch.onnx.export(
        deployed,
        (images,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {METADATA: text})
    onnx.save(model, file)


def write_torch_export(deployed: nn.Module, images: Tensor, text: str, file: Path) -> None:
    """Write one .pt2 file that torch.export.load reads without Graft."""
    program = torch.export.export(
        deployed, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
    )
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


FORMATS: dict[str, tuple[str, Callable[[nn.Module, Tensor, str, Path], None]]] = {
    "onnx": (".onnx", write_onnx),
    "torch_export": (".pt2", write_torch_export),
    "openvino": (".xml", write_openvino),
}


@dataclass(frozen=True)
class Export:
    """A written file, how far it is from the checkpoint, and how fast both are."""

    file: Path
    images: int  # that it was verified on
    difference: float  # largest of a probability
    speed: float  # images a second, batches of 32
    eager_speed: float


def export(
    checkpoint: Path,
    format: str,  # noqa: A002 -- the setting's name
    output: Path,
    images: Sequence[Path],
    include_preprocessing: bool = False,
) -> Export:
    """Write the checkpoint in a format, verify it on the images and time it.

    Raises UserError, and writes nothing, where a probability differs by more than 1e-4.
    """
    ending, write = FORMATS[format]
    if output.suffix.lower() != ending or not output.parent.is_dir():
        raise UserError(
            f"output={output}: for format={format} it is a {ending} file in a folder that exists."
        )
    loaded = load_classifier(checkpoint)
    eager = checkpoint_model(loaded, torch.device("cpu"))
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The tracer's, about its own use of torch.
        file = Path(folder) / output.name
        deployed = Deployed(loaded, include_preprocessing).eval()
        inputs = example(loaded, include_preprocessing)
        write(deployed, inputs, metadata(loaded, include_preprocessing), file)
        exported = load_model(file)
        difference = largest_difference(eager, exported, images)
        if not difference <= TOLERANCE:
            raise UserError(
                f"format={format}: a probability differs from the checkpoint's by {difference:.1e}, "
                f"more than {TOLERANCE:.0e}; nothing is written."
            )
        batch = torch.zeros(IMAGES, 3, *loaded.preprocessing.crop, dtype=torch.uint8)
        eager_speed, speed = speeds([eager.network, exported.network], batch)
        for written in Path(folder).iterdir():
            written.replace(output.parent / written.name)
    return Export(output, len(images), difference, speed, eager_speed)


def largest_difference(eager: Model, exported: Model, images: Sequence[Path]) -> float:
    """Return by how much a probability differs at most, over batches of two sizes."""
    expected = eager.predict(images)
    # The last batch is smaller: the size is dynamic.
    found = list(exported.stream(images, batch_size=max(1, len(images) - 1)))
    if bad := [f"{p.path} ({p.error})" for p in expected if p.error]:
        raise UserError(f"input: a image to verify on cannot be read: {bad[0]}.")
    shares = [torch.tensor([p.probabilities for p in predictions]) for predictions in (expected, found)]
    return float((shares[0] - shares[1]).abs().max())


def speeds(networks: Sequence[Callable[[Tensor], Tensor]], batch: Tensor) -> list[float]:
    """Return the images a second of each network: the median of batches run in turn, after one each."""
    seconds: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for _ in range(1 + TIMED_BATCHES):
            for network, taken in zip(networks, seconds, strict=True):
                began = time.perf_counter()
                network(batch)
                taken.append(time.perf_counter() - began)
    return [len(batch) / statistics.median(taken[1:]) for taken in seconds]


def images_of_run(checkpoint: Path) -> list[Path]:
    """Return images of the data that the checkpoint's run was trained on, by the settings in its folder.

    Raises UserError where they are not to be found.
    """
    settings = checkpoint.absolute().parent.parent / ".hydra" / "config.yaml"
    try:
        data = OmegaConf.load(settings).data
        root = Path(data.root).expanduser()
        samples = scan_folder(root, data.layout, needs_train=False)
    except (OSError, OmegaConfBaseException, AttributeError, UserError) as error:
        raise UserError(
            "input is needed: write input=FOLDER with real images, such as those of the training, to "
            f"verify the file on ({settings} leads to none)."
        ) from error
    return [root / sample.path for sample in samples]


def spread(images: Sequence[Path]) -> list[Path]:
    """Return 32 of the images at even distances, so that all folders have their share, or all of fewer."""
    return list(images[:: max(1, len(images) // IMAGES)])[:IMAGES]


def write_export(
    checkpoint: Path,
    format: str,  # noqa: A002 -- the setting's name
    input: str | None,  # noqa: A002 -- the setting's name
    output: Path | None,
    include_preprocessing: bool,
) -> Export:
    """Export as `export` does and print what was measured."""
    keep_freed_memory()
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    output = output or checkpoint.with_suffix(FORMATS[format][0])
    images = spread(list(find_images(input)) if input else images_of_run(checkpoint))
    done = export(checkpoint, format, output, images, include_preprocessing)
    sys.stdout.write(
        f"{done.file}\n"
        f"largest difference of a probability, {done.images} images: {done.difference:.1e}\n"
        f"{done.speed:.0f} images a second, {done.eager_speed:.0f} by the checkpoint "
        f"(batches of {IMAGES}, CPU, {torch.get_num_threads()} threads)\n"
    )
    return done
