"""OpenVINO runs networks and exported files on the CPU."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import import_extra
from graft.models.engines.run import METADATA, Run


def open_file(path: Path) -> tuple[Run, str]:
    """Return what runs an .xml file, and its metadata."""
    model = import_extra("openvino", "export").Core().read_model(path)
    return runner(model), str(model.get_rt_info([METADATA]).astype(str))


def converted(network: nn.Module, images: Tensor, streams: int) -> Run:
    """Return what runs the network on any number of images of this shape, `streams` batches at a time."""
    # `openvino.convert_model` also reports each conversion to its makers, and runs the network twice more.
    frontend = import_extra("openvino.frontend", "export").FrontEndManager().load_by_framework("pytorch")
    decoders = import_extra("openvino.frontend.pytorch.ts_decoder", "export")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about its own tracer.
        traced = decoders.TorchScriptPythonDecoder(
            network, example_input=images, trace_kwargs={"check_trace": False}
        )
    model = frontend.convert(frontend.load(traced))
    model.reshape([-1, *images.shape[1:]])
    return runner(model, streams)


def runner(model: Any, streams: int = 1) -> Run:
    options = {
        "INFERENCE_PRECISION_HINT": "f32",  # Processors with bfloat16 would use it: two digits.
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": streams,
    }
    compiled = import_extra("openvino", "export").Core().compile_model(model, "CPU", options)

    def run(images: Tensor) -> Tensor:
        request = compiled.create_infer_request()  # One cannot be used by two threads.
        return torch.from_numpy(request.infer(images.contiguous().numpy())[0].copy())

    return run
