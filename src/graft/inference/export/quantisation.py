"""Writes a checkpoint as ONNX in 8-bit integers, calibrated and measured on the run's validation images."""

import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from graft.data.folder import Sample
from graft.data.transforms import normalisation
from graft.errors import UserError, import_extra
from graft.inference.evaluation import evaluate, labelled_images
from graft.inference.export.writing import IMAGES, Deployed, example, metadata, speeds, spread, write_onnx
from graft.inference.model import Model, decoded_images
from graft.inference.runtimes import METADATA, checkpoint_model, load_model
from graft.memory import keep_freed_memory
from graft.models.checkpoints import load_classifier


@dataclass(frozen=True)
class Quantised:
    """A written file, its accuracy on the validation images and the checkpoint's, and how fast both are."""

    file: Path
    images: int
    accuracy: float
    float_accuracy: float
    speed: float  # images a second, batches of 32
    float_speed: float


def quantise(checkpoint: Path, output: Path, root: Path, samples: list[Sample]) -> Quantised:
    """Write the checkpoint with 8-bit weights and activations, whose ranges come from 32 of the images.

    It takes normalised images, as `format=onnx` does. Raises UserError for another ending than .onnx.
    """
    if output.suffix.lower() != ".onnx" or not output.parent.is_dir():
        raise UserError(f"output={output}: for format=onnx_int8 it is a .onnx file in a folder that exists.")
    onnx, quantization = (import_extra("onnx", "export"), import_extra("onnxruntime.quantization", "export"))
    loaded = load_classifier(checkpoint)
    eager = checkpoint_model(loaded, torch.device("cpu"))
    text = metadata(loaded, include_preprocessing=False)
    images = spread([root / sample.path for sample in samples])
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, prepared, file = (Path(folder) / name for name in ("float.onnx", "prepared.onnx", output.name))
        write_onnx(Deployed(loaded, False).eval(), example(loaded, False), text, whole)
        quantization.quant_pre_process(str(whole), str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(file),
            Calibration(load_model(whole), images),
            per_channel=True,
            # Sums of products of two full bytes overflow on processors without VNNI.
            reduce_range=True,
        )
        model = onnx.load(file)
        onnx.helper.set_model_props(model, {METADATA: text})
        onnx.save(model, file)
        quantised = load_model(file)
        accuracies = [evaluate(m, root, samples, IMAGES).metrics["accuracy"] for m in (eager, quantised)]
        batch = torch.zeros(IMAGES, 3, *loaded.preprocessing.crop, dtype=torch.uint8)
        float_speed, speed = speeds([eager.network, quantised.network], batch)
        file.replace(output)
    return Quantised(output, len(samples), accuracies[1], accuracies[0], speed, float_speed)


class Calibration:
    """Hands out normalised images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, model: Model, images: list[Path]) -> None:
        self.inputs = self.normalised(model, images)

    def normalised(self, model: Model, images: list[Path]) -> Iterator[dict[str, np.ndarray]]:
        """Yield every image `[1, 3, H, W]`; UserError for one that cannot be read."""
        normalise = normalisation(model.preprocessing)
        for path, image, error in decoded_images(model.preprocessing, images, ahead=4):
            if image is None:
                raise UserError(f"{path} cannot be read ({error}).")
            yield {"images": normalise(image[None]).numpy()}

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, None after the last."""
        return next(self.inputs, None)


def validation_images(checkpoint: Path) -> tuple[Path, list[Sample]]:
    """Return the folder and the validation images of the checkpoint's run, by what its folder says.

    Raises UserError where they are not to be found.
    """
    run = checkpoint.absolute().parent.parent
    try:
        data = OmegaConf.load(run / ".hydra" / "config.yaml").data
        root = Path(data.root).expanduser()
        return root, labelled_images(root, "val", run / "splits.csv", data.layout)
    except (OSError, OmegaConfBaseException, AttributeError, UserError) as error:
        raise UserError(
            "format=onnx_int8 needs the validation images of the checkpoint's run, which its settings and "
            f"splits.csv in {run} do not lead to ({error})."
        ) from error


def write_int8(checkpoint: Path, output: Path | None) -> Quantised:
    """Quantise as `quantise` does and print what was measured."""
    keep_freed_memory()
    output = output or checkpoint.with_name(f"{checkpoint.stem}-int8.onnx")
    done = quantise(checkpoint, output, *validation_images(checkpoint))
    sys.stdout.write(
        f"{done.file}\n"
        f"accuracy on {done.images} validation images {done.accuracy:.4f}, "
        f"{done.float_accuracy:.4f} by the checkpoint\n"
        f"{done.speed:.0f} images a second, {done.float_speed:.0f} by the checkpoint "
        f"(batches of {IMAGES}, CPU, {torch.get_num_threads()} threads)\n"
    )
    return done
