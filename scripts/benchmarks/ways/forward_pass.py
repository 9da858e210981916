"""The bare minimum: every image, decoded before, once through the frozen network; only that is timed."""

import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.ways.network import loaders, pretrained
from graft.memory import keep_freed_memory


def main(root: Path, keeps_memory: bool) -> None:
    """Print the seconds of the pass, channels last, in inference mode."""
    if keeps_memory:
        keep_freed_memory()
    network = pretrained(2)[0].eval().to(memory_format=torch.channels_last)
    batches = [
        images.contiguous(memory_format=torch.channels_last)
        for split in loaders(root).values()
        for images, _ in split
    ]
    with torch.inference_mode():
        network(batches[0])
        began = time.perf_counter()
        for images in batches:
            network(images)
        seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"pass": seconds, "images": sum(map(len, batches))}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "keep")
