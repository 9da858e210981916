"""Fine-tune a pretrained image model: `python train.py model=resnet18 freeze=true`; `--help` shows all."""

from pathlib import Path

from graft.cli.command import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
