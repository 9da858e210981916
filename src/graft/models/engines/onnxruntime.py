"""ONNX Runtime runs networks and exported files on the CPU."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import import_extra
from graft.models.engines.run import METADATA, Run


def open_file(path: Path) -> tuple[Run, str]:
    """Return what runs an .onnx file, and its metadata."""
    run, session = runner(path)
    return run, session.get_modelmeta().custom_metadata_map[METADATA]


def converted(network: nn.Module, images: Tensor, streams: int) -> Run:
    """Return what runs the network on any number of images of this shape, `streams` batches at a time."""
    return runner(onnx_model(network, images, "features").SerializeToString(), streams)[0]


def runner(model: Path | bytes, streams: int = 1) -> tuple[Run, Any]:
    runtime = import_extra("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads() // streams)
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,) = (taken.name for taken in session.get_inputs())

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])

    return run, session


def onnx_model(network: nn.Module, images: Tensor, output: str) -> Any:
    """Return the network as an ONNX model with the input `images` `[batch, C, H, W]` and one output."""
    import_extra("onnx", "export")
    import_extra("onnxscript", "export")
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    program = torch.onnx.export(
        network,
        (images,),
        input_names=["images"],
        output_names=[output],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto
