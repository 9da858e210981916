"""The page that `python train.py --help` prints, read from the config files and their comments."""

import re
import textwrap
from pathlib import Path

EXAMPLES = (
    ("solar cells, packaged ImageNet weights, head only", "python train.py"),
    ("your pictures: FOLDER/CLASS/*.jpg", "python train.py data=folder data.root=FOLDER"),
    ("another network, all of it", "python train.py model=resnet18 freeze=false optimizer.lr=1e-4"),
    ("a sweep: one run for each combination", "python train.py -m freeze=true,false seed=1,2,3"),
    ("go on with the newest run", "python train.py resume=last"),
)
WIDTH = 100


def help_page(config_dir: Path) -> str:
    """Return the knobs with their defaults, every group with its choices, and five examples."""
    text = (config_dir / "train.yaml").read_text(encoding="utf-8")
    return "\n".join(
        [
            "Fine-tune a pretrained image model on a folder of pictures.",
            "",
            "usage: python train.py [KEY=VALUE ...] [-m] [--cfg job]",
            "  -m         run every combination of values separated by commas (a sweep)",
            "  --cfg job  print the composed settings and stop",
            "",
            "knobs (KEY=default)",
            *knobs(text),
            "",
            "groups (GROUP=choice, then GROUP.key=value; * is the default; all keys: configs/GROUP/)",
            *groups(config_dir, text),
            "",
            "examples",
            *(f"  {command}\n      {purpose}" for purpose, command in EXAMPLES),
            "",
        ]
    )


def knobs(text: str) -> list[str]:
    """Return the top-level keys with their default and comment, from the text of train.yaml."""
    lines: list[str] = []
    comment: list[str] = []
    parent = ""
    for line in text.split("defaults:", 1)[1].splitlines():
        entry = re.match(r"( *)([a-z0-9_]+):\s*([^#]*?)\s*(?:# (.*))?$", line)
        if line.startswith("# "):
            comment.append(line[2:])
        elif not entry:
            comment, parent = [], ""
        elif entry.group(1) and parent:
            lines += paragraph(f"{parent}.{entry.group(2)}={entry.group(3)}", entry.group(4))
        elif not entry.group(1) and not entry.group(3):
            parent = entry.group(2)
        elif not entry.group(1):
            lines += paragraph(f"{entry.group(2)}={entry.group(3)}", " ".join(comment))
            comment = []
    return lines


def groups(config_dir: Path, text: str) -> list[str]:
    """Return a paragraph for every config group: its choices, the default marked."""
    lines: list[str] = []
    for group, default in re.findall(r"^  - (\w+): (\w+)", text, flags=re.MULTILINE):
        choices = sorted(file.stem for file in (config_dir / group).glob("*.yaml"))
        if len(choices) > 1 or default == "null":
            marked = [f"{choice}*" if choice == default else choice for choice in choices]
            lines += paragraph(group, ", ".join(marked))
    return lines


def paragraph(term: str, description: str | None) -> list[str]:
    """Return a term and its description in two columns."""
    wrapped = textwrap.wrap(description or "", WIDTH - 34) or [""]
    if len(term) > 30:
        return [f"  {term}", *(" " * 34 + line for line in wrapped)]
    return [f"  {term:<30}  {wrapped[0]}", *(" " * 34 + line for line in wrapped[1:])]
