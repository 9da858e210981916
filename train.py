"""Fine-tune a pretrained image model: `python train.py model=resnet18 freeze=true`; `--help` shows all."""

import sys
from pathlib import Path

try:
    from graft.cli.command import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed here: write make setup, then source .venv/bin/activate.")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
