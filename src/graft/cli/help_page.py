"""The pages of `--help`, `--help GROUP` and `--help all`, from the config files and their comments."""

import re
import textwrap
from pathlib import Path

from graft.cli.config_groups import group_choices
from graft.errors import UserError, suggestion

EXAMPLES = (
    ("solar cells, packaged ImageNet weights, head only", "python train.py"),
    ("your images: FOLDER/CLASS/*.jpg", "python train.py data.root=FOLDER"),
    ("another network, all of it", "python train.py model=resnet18 freeze=false optimizer.lr=1e-4"),
    ("a sweep: one run for each combination", "python train.py -m freeze=true,false seed=1,2,3"),
    ("go on with the newest run", "python train.py resume=last"),
)
# What people change first: each key with the file that explains it.
FIRST = (
    ("data.root", "data/folder"),
    ("data.batch_size", "data/folder"),
    ("data.image_size", "data/folder"),
    ("freeze", "train"),
    ("trainer.max_epochs", "trainer/auto"),
    ("optimizer.lr", "optimizer/adamw"),
    ("resume", "train"),
    ("seed", "train"),
)
WIDTH = 80
TERM = 26  # columns of the first of both


def help_page(config_dir: Path, topic: str | None = None) -> str:
    """Return the first page, or with a topic every key of a group, of `train.yaml` (`run`) or of `all`.

    Raises UserError for a topic that is none.
    """
    groups = {name: choices for name, choices in group_choices(config_dir).items() if name != "hydra"}
    if topic is None:
        return first_page(config_dir, groups)
    topics = ["run", *groups]
    if topic != "all" and topic not in topics:
        hint = suggestion(topic, topics)
        raise UserError(f"--help {topic}: there is no such page.{hint} Pages: {', '.join(topics)}, all.")
    pages = topics if topic == "all" else [topic]
    return "\n".join(line for page in pages for line in page_of(config_dir, page))


def first_page(config_dir: Path, groups: dict[str, list[str]]) -> str:
    """Return one screen: what people change first, the groups with their choices, examples."""
    lines = [
        "Fine-tune a pretrained image model on a folder of images.",
        "",
        "usage: python train.py [KEY=VALUE ...] [-m] [--cfg job]",
        "  -m            run every combination of values separated by commas (a sweep)",
        "  --cfg job     print the composed settings and stop",
        "  --help GROUP  every key of a group (data, trainer, ...); run: the others; all",
        "",
        "what people change first (KEY=default)",
    ]
    for key, file in FIRST:
        name = key.rpartition(".")[2]
        for found, value, comment in entries(config_dir / f"{file}.yaml"):
            if found == name:
                lines += paragraph(f"{key}={value}", comment)
    lines += ["", "groups (GROUP=choice; * is the default)"]
    defaults = dict(re.findall(r"^  - (\w+): (\w+)", text_of(config_dir / "train.yaml"), flags=re.M))
    for group, choices in groups.items():
        if len(choices) > 1 or defaults.get(group) == "null":
            marked = [f"{choice}*" if choice == defaults.get(group) else choice for choice in choices]
            more = ", or any name of torchvision or timm" if group == "model" else ""
            lines += paragraph(group, ", ".join(marked) + more)
    lines += ["", "examples"]
    for purpose, command in EXAMPLES:
        lines += [f"  {command}", f"      {purpose}"]
    return "\n".join([*lines, ""])


def page_of(config_dir: Path, page: str) -> list[str]:
    """Return every key of a group, choice by choice, or of `train.yaml`."""
    if page == "run":
        lines = ["the settings of a run (KEY=default)"]
        for key, value, comment in entries(config_dir / "train.yaml"):
            lines += paragraph(f"{key}={value}", comment)
        return [*lines, ""]
    lines = []
    for file in sorted((config_dir / page).glob("*.yaml")):
        lines += [f"{page}={file.stem}", *(f"  {line}" for line in textwrap.wrap(purpose(file), WIDTH - 2))]
        prefix = "" if page == "experiment" else f"{page}."
        for key, value, comment in entries(file):
            lines += paragraph(f"{prefix}{key}={value}", comment)
        lines.append("")
    return lines


def purpose(file: Path) -> str:
    """Return the comment that a config file opens with."""
    lines = [line[2:] for line in text_of(file).splitlines()[:3] if line.startswith("# ")]
    return " ".join(line for line in lines if not line.startswith("@package"))


def entries(file: Path) -> list[tuple[str, str, str]]:
    """Return the dotted keys of a config file with their value and their comment, beside or above them."""
    found: list[tuple[str, str, str]] = []
    above: list[str] = []
    parents: list[tuple[int, str]] = []
    is_list = False
    for line in text_of(file).splitlines():
        entry = re.match(r"( *)([\w]+):\s*(\"[^\"]*\"|'[^']*'|[^#]*?)\s*(?:# (.*))?$", line)
        if line.lstrip().startswith("# "):
            above.append(line.lstrip()[2:])
        elif not entry:
            above = []
        else:
            indent, key, value, comment = len(entry[1]), entry[2], entry[3], entry[4]
            parents = [parent for parent in parents if parent[0] < indent]
            is_list = key == "defaults"
            if not value and not is_list:
                parents.append((indent, key))
            elif not is_list and not key.startswith("_"):
                name = ".".join([*(parent for _, parent in parents), key])
                found.append((name, value, comment or " ".join(above)))
            above = []
    return found


def text_of(file: Path) -> str:
    """Return the text of a config file."""
    return file.read_text(encoding="utf-8")


def paragraph(term: str, description: str) -> list[str]:
    """Return a term and its description in two columns."""
    wrapped = textwrap.wrap(description, WIDTH - TERM - 4) or [""]
    lines = [" " * (TERM + 4) + line for line in wrapped]
    if len(term) > TERM:
        return [*textwrap.wrap(f"  {term}", WIDTH, subsequent_indent="    "), *lines]
    return [f"  {term:<{TERM}}  {wrapped[0]}", *lines[1:]]
