"""Writes a checkpoint as ONNX in 8-bit integers, calibrated and measured on the run's validation images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from graft.data.sample import Sample
from graft.data.transforms import normalisation
from graft.errors import UserError, import_extra
from graft.inference.evaluation import evaluate
from graft.inference.export.writing import (
    IMAGES,
    Export,
    images_of_run,
    speeds,
    spread,
    write_network,
    write_onnx,
    written_whole,
)
from graft.inference.model import decoded_images
from graft.inference.runtimes import checkpoint_model, load_model
from graft.models.checkpoints import load_classifier
from graft.preprocessing import Preprocessing


def quantise(
    checkpoint: Path,
    output: Path,
    images: tuple[Path, Sequence[Sample]] | None = None,
    allow: Sequence[str] = (),
) -> Export:
    """Write the checkpoint with 8-bit weights and activations, whose ranges come from 32 validation images.

    `images`, a folder and samples, are those of the checkpoint's run by default; the task's first metric is
    measured on all of them. The file takes normalised images, as `format=onnx` does. The extension is .onnx.
    """
    with written_whole(output, ".onnx", "onnx_int8") as file:
        onnx = import_extra("onnx", "export")
        quantization = import_extra("onnxruntime.quantization", "export")
        loaded = load_classifier(checkpoint, allow)
        eager = checkpoint_model(loaded, torch.device("cpu"), allow)
        need = "format=onnx_int8 needs the validation images of the checkpoint's run"
        root, samples = images or images_of_run(checkpoint, eager.task, need, "val")
        whole, prepared = (file.parent.with_name(name) for name in ("whole.onnx", "prepared.onnx"))
        write_network(write_onnx, loaded, whole)
        quantization.quant_pre_process(str(whole), str(prepared))
        inputs = normalised(loaded.preprocessing, spread([root / sample.path for sample in samples]))
        quantization.quantize_static(
            str(prepared),
            str(file),
            SimpleNamespace(get_next=lambda: next(inputs, None)),
            per_channel=True,
            # Sums of products of two full bytes overflow on processors without VNNI.
            reduce_range=True,
        )
        model, properties = onnx.load(file), onnx.load(whole).metadata_props
        onnx.helper.set_model_props(model, {entry.key: entry.value for entry in properties})
        onnx.save(model, file)
        quantised = load_model(file, allow)
        metric = next(iter(eager.task.metrics), "loss")
        value, eager_value = (evaluate(m, root, samples, IMAGES).metrics[metric] for m in (quantised, eager))
        eager_speed, speed = speeds([eager, quantised])
    return Export(output, len(samples), metric, value, eager_value, speed, eager_speed)


def normalised(preprocessing: Preprocessing, images: Sequence[Path]) -> Iterator[dict[str, np.ndarray]]:
    """Yield every image `[1, C, H, W]` as ONNX Runtime takes it; UserError for an unreadable one."""
    normalise = normalisation(preprocessing)
    for path, image, error in decoded_images(preprocessing, images, ahead=4):
        if image is None:
            raise UserError(f"{path} cannot be read ({error}).")
        yield {"images": normalise(image[None]).numpy()}
