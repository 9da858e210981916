"""Start-up: the help page, and the command until the first training step begins, beside the bare imports."""

from functools import partial
from pathlib import Path

from benchmarks.measuring import paired, run, spread, table

IMPORTS = "import torch, torchvision, lightning, timm"
ABOUT = "train.py imports the same packages, but collects no garbage while it does."


def measure(root: Path, work: Path, repetitions: int) -> str:
    """Return the section; the first step is one of fine-tuning, from images, one batch of 32."""
    leaving = "+callbacks.leave._target_=benchmarks.ways.first_step.ExitAtFirstStep"
    settings = ["data=folder", f"data.root={root}", f"hydra.run.dir={work / 'start'}", "freeze=false"]
    ways = {
        "train.py --help": ["train.py", "--help"],
        IMPORTS: ["-c", IMPORTS],
        "train.py until the first training step": ["train.py", *settings, leaving],
    }
    runs = paired({name: partial(run, command) for name, command in ways.items()}, repetitions)
    rows = [[name, spread([r.seconds for r in found], 2)] for name, found in runs.items()]
    return f"{table(['command', 'seconds'], rows)}\n\n{ABOUT}"
