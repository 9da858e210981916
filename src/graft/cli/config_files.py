"""Reads the config folder: groups, files, every key with default and comment; makes the pages of `--help`."""

import re
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from graft.errors import UserError, suggestion

# The dotted key with its group, its value as written (None: it holds other keys), its comment.
Entry = tuple[str, str | None, str]
USAGE = """\
Fine-tune a pretrained image model on a folder of images.

usage: python train.py [KEY=VALUE ...] [-m] [--cfg job]
  -m            run every combination of values separated by commas (a sweep)
  --cfg job     print the composed settings and stop
  --help GROUP  every key of a group (data, trainer, ...); run: the others; all
"""
EXAMPLES = """\
examples
  python train.py                                                solar cells
  python train.py data.root=FOLDER                               FOLDER/CLASS/*
  python train.py model=resnet18 freeze=false optimizer.lr=1e-4  all layers
  python train.py -m freeze=true,false seed=1,2,3                a sweep
  python train.py resume=last                                    continue
"""
# What people change first: the keys of each file.
FIRST = {
    "data/folder": ("data.root",),
    "data/_images": ("data.batch_size", "data.image_size"),
    "train": (
        *("freeze", "resume", "seed"),
        *("recipe", "time_budget"),  # room: recipes
    ),
    "trainer/auto": ("trainer.max_epochs",),
    "optimizer/adamw": ("optimizer.lr",),
}
ROOM_MARK = re.compile(r" *# room: \S+$", re.MULTILINE)
WIDTH, TERM = 80, 26  # columns of a page, and of its keys


def group_choices(config_dir: Path) -> dict[str, list[str]]:
    groups = sorted(folder for folder in config_dir.iterdir() if folder.is_dir())
    return {group.name: sorted(file.stem for file in group.glob("[!_]*.yaml")) for group in groups}


def known_keys(config_dir: Path) -> set[str]:
    files = [str(file.relative_to(config_dir).with_suffix("")) for file in config_dir.rglob("*.yaml")]
    return {*group_choices(config_dir), *(key for file in files for key, _, _ in entries(config_dir, file))}


@cache
def entries(config_dir: Path, file: str) -> tuple[Entry, ...]:
    """Return the keys of a file such as `data/folder`, without `defaults` and Hydra's own `_target_` etc."""
    text = ROOM_MARK.sub("", (config_dir / f"{file}.yaml").read_text(encoding="utf-8"))
    group = "" if "_global_" in text.partition("\n")[0] else file.rpartition("/")[0]
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return tuple(entries_of(root, f"{group}." if group else "", text)) if root else ()


def entries_of(node: Any, prefix: str, text: str) -> Iterator[Entry]:
    for key, value in node.value:
        name = prefix + key.value
        if key.value == "defaults" or key.value.startswith("_"):
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            yield name, None, ""
            yield from entries_of(value, f"{name}.", text)
            continue
        start, end = value.start_mark.index, value.end_mark.index
        beside = re.match(r"[^\S\n]*# (.*)", text[end:])
        lines = [line.strip() for line in text.splitlines()[: key.start_mark.line]]
        above = [line[2:] for line in takewhile(lambda line: line.startswith("# "), reversed(lines))]
        yield name, " ".join(text[start:end].split()), beside[1] if beside else " ".join(reversed(above))


def help_page(config_dir: Path, topic: str | None = None) -> str:
    """Return the first page, or with a topic every key of a group, of `train.yaml` (`run`) or of `all`."""
    groups = {name: choices for name, choices in group_choices(config_dir).items() if name != "hydra"}
    if topic is None:
        return first_page(config_dir, groups)
    if topic not in ("run", "all", *groups):
        pages = ["run", *groups, "all"]
        raise UserError(f"unknown help page {topic}.{suggestion(topic, pages)} Pages: {', '.join(pages)}.")
    lines = []
    if topic in ("run", "all"):
        lines += ["the settings of a run (KEY=default)", *keys_of(config_dir, "train"), ""]
    for group in groups if topic == "all" else {topic} & set(groups):
        # Files with a `_` before their name hold what others build on.
        shared = sorted(file.stem for file in (config_dir / group).glob("_*.yaml"))
        for choice in [*groups[group], *shared]:
            # The comment that the file opens with.
            opening = (config_dir / group / f"{choice}.yaml").read_text(encoding="utf-8").splitlines()[:3]
            comments = [line[2:] for line in opening if line.startswith("# ") and "@package" not in line]
            purpose = textwrap.fill(" ".join(comments), WIDTH - 2)
            title = f"{group}, all choices" if choice in shared else f"{group}={choice}"
            lines += [title, textwrap.indent(purpose, "  ")]
            lines += [*keys_of(config_dir, f"{group}/{choice}"), ""]
    return "\n".join(lines)


def first_page(config_dir: Path, groups: dict[str, list[str]]) -> str:
    lines = [USAGE, "what people change first (KEY=default)"]
    for file, keys in FIRST.items():
        lines += keys_of(config_dir, file, keys)
    lines += ["", "groups (GROUP=choice; * is the default)"]
    run = yaml.safe_load((config_dir / "train.yaml").read_text(encoding="utf-8"))
    defaults = dict(next(iter(entry.items())) for entry in run["defaults"] if entry != "_self_")
    for group, choices in groups.items():
        default = defaults.get(group)
        if len(choices) > 1 or default is None:
            marked = ", ".join(f"{choice}*" if choice == default else choice for choice in choices)
            more = ", or any name of torchvision or timm" if group == "model" else ""
            lines += paragraph(group, marked + more)
    return "\n".join([*lines, "", EXAMPLES])


def keys_of(config_dir: Path, file: str, only: tuple[str, ...] = ()) -> list[str]:
    lines = []
    for key, value, comment in entries(config_dir, file):
        if value is not None and (not only or key in only):
            lines += paragraph(f"{key}={value}", comment)
    return lines


def paragraph(term: str, description: str) -> list[str]:
    wrapped = textwrap.wrap(description, WIDTH - TERM - 4) or [""]
    lines = [" " * (TERM + 4) + line for line in wrapped]
    if len(term) > TERM:
        return [*textwrap.wrap(f"  {term}", WIDTH, subsequent_indent="    "), *lines]
    return [f"  {term:<{TERM}}  {wrapped[0]}", *lines[1:]]
