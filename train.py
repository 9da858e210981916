"""Fine-tune a pretrained image model: `python train.py model=resnet18 freeze=true`; `--help` shows all."""

import sys
from pathlib import Path

from graft.cli.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
