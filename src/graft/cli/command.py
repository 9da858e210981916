"""The command `train.py`: what its arguments stand for, and which folder its run gets."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from graft.cli.arguments import TEXTS, quoted_texts, refuse_other_forms, split_flags, unquoted, value_of
from graft.cli.config_files import group_choices, help_page, known_keys
from graft.cli.process import exit_code, process_left_as_it_was
from graft.errors import UserError

if TYPE_CHECKING:
    from graft.finished_run import FinishedRun as FinishedRun  # `graft` names it as well

SHOWS_ONLY = {"-c", "--cfg", "--info", "-sc", "--shell-completion"}
ELPV_MARKER = ".dataset.json"  # See graft.data.sources.elpv; an import for this alone would be slow.
WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")


def main(arguments: Sequence[str], project: Path) -> int:
    """Run `train.py` of the folder `project` and return the exit code, see `graft.cli.process.exit_code`."""
    return exit_code(lambda: run(list(arguments), project))


def train_once(settings: Sequence[str], project: Path) -> "FinishedRun":
    """Do what `main` does with settings, without flags, and return the run; raise UserError for a mistake."""
    if flags := split_flags(settings)[0]:
        raise UserError(f"{flags[0]} is for the command line: graft.train takes settings, one run a call.")
    finished: list[FinishedRun] = []
    with process_left_as_it_was():
        run(list(settings), project, finished)
    return finished[0]


def run(arguments: list[str], project: Path, finished: "list[FinishedRun] | None" = None) -> int:
    os.environ["GRAFT_ROOT"] = str(project)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them.
    if {"-h", "--help"} & set(arguments):
        topics = (argument for argument in arguments if not argument.startswith("-") and "=" not in argument)
        sys.stdout.write(help_page(project / "configs", next(topics, None)))
        return 0
    flags, words = split_flags(arguments)
    shows_only = bool(SHOWS_ONLY & {flag.partition("=")[0] for flag in flags})
    if not {"-sc", "--shell-completion"} & set(flags):
        settings, notes = prepare(flags, words, project)
        arguments = [*flags, *settings]
        if "LOCAL_RANK" not in os.environ and not shows_only:
            sys.stdout.writelines(f"note       {note}\n" for note in notes if note)
    sys.argv[1:] = arguments
    from graft.cli.jobs import run_jobs  # Here, as Hydra takes a while to import.

    return run_jobs(arguments, project / "configs", shows_only, finished)


def prepare(flags: list[str], words: list[str], project: Path) -> tuple[list[str], list[str]]:
    """Return the words as settings that Hydra takes, and notes on what was added; raise UserError else."""
    config_dir = project / "configs"
    for flag, following in zip(flags, [*flags[1:], ""], strict=False):  # Hydra would print its usage.
        name, _, value = flag.partition("=")
        if name in ("-c", "--cfg") and (value or following) not in ("job", "hydra", "all"):
            raise UserError(f"{name} {value or following}: write {name} job, hydra or all.")
    sweeps = bool({"-m", "--multirun"} & set(flags))
    settings = refuse_other_forms(words, known_keys(config_dir), bare_word)
    settings, from_run = with_settings_of_run(settings, project)
    settings, from_data = with_folder(settings, config_dir)
    settings = quoted_texts(with_network(settings, group_choices(config_dir)["model"]), sweeps)
    # The other processes of distributed training find the folder of the first.
    if "LOCAL_RANK" not in os.environ:
        refuse_finished_run(settings, sweeps)
    return settings, [from_run, from_data]


def bare_word(word: str) -> str:
    """Return what a word without `=` may mean: a folder of images, or a setting without its value."""
    is_path = "/" in word or Path(word).exists()
    return f"data=folder data.root={word}" if is_path else f"{word}=VALUE"


def with_settings_of_run(settings: list[str], project: Path) -> tuple[list[str], str]:
    """Return the settings of the run that `resume` names under those that are given, and a note."""
    resume = value_of(settings, "resume")
    if resume is None or resume == "null":
        return settings, ""
    path = Path(resume).expanduser()
    run = path.parent.parent
    if resume == "last" and not path.exists():
        path = run = newest_run(settings, project)
    elif path.is_dir():
        run = path.parent if path.name == "checkpoints" else path
    if path.is_dir():
        settings = [*without(settings, "resume"), f"resume={checkpoint_of(run, 'last', 'best')}"]
    given = {setting.partition("=")[0].lstrip("+~") for setting in settings}
    own = settings_of_run(run)
    own = [setting for setting in own if setting.partition("=")[0].lstrip("+~") not in given]
    return [*own, *settings], f"settings of {run}" if own else ""


def checkpoint_of(run: Path, *names: str) -> Path:
    """Return a run's checkpoint, the first of these names that exists; raise UserError where none does."""
    folder = run if run.name == "checkpoints" else run / "checkpoints"
    for name in names:
        if (folder / f"{name}.ckpt").is_file():
            return folder / f"{name}.ckpt"
    raise UserError(f"{run} is not the folder of a run: it has no checkpoints/{names[0]}.ckpt.")


def newest_run(settings: Sequence[str], project: Path) -> Path:
    """Return the run that `resume=last` means: the one in the folder that is named, else the newest.

    Raises UserError where there is none.
    """
    named = value_of(settings, "hydra.run.dir")
    if named and (Path(named).expanduser() / "checkpoints" / "last.ckpt").is_file():
        return Path(named).expanduser()
    logs = Path(value_of(settings, "paths.logs") or project / "logs").expanduser()
    folders = (logs, logs / "train" / "runs")  # the first holds runs with names of their own
    checkpoints = [file for folder in folders for file in folder.glob("*/checkpoints/last.ckpt")]
    if not checkpoints:
        raise UserError(f"resume=last: no run in {logs} has a checkpoint; write resume=PATH.")
    return max(checkpoints, key=lambda file: file.stat().st_mtime).parent.parent


def settings_of_run(run: Path) -> list[str]:
    """Return the settings that a run was given, paths as seen from here; none where it kept no record."""
    try:
        record = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        hydra = yaml.safe_load((run / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    folder = Path(hydra["hydra"]["runtime"]["cwd"])
    return [seen_from_here(setting, folder) for setting in record or [] if not setting.startswith("resume=")]


def seen_from_here(setting: str, folder: Path) -> str:
    key, _, value = setting.partition("=")
    path = folder / unquoted(value)
    is_path = key.lstrip("+") in TEXTS and key != "model.name" and value not in ("null", "")
    return f"{key}={path}" if is_path and folder != Path.cwd() and path.exists() else setting


def with_folder(settings: list[str], config_dir: Path) -> tuple[list[str], str]:
    """Return the settings with `data=folder` where a folder of images is given, and a note."""
    data, root = value_of(settings, "data"), value_of(settings, "data.root")
    if data is not None:
        is_path = bool(set(data) & set("/~.")) or (data != "" and Path(data).exists())
        if root is not None or data in group_choices(config_dir)["data"] or not is_path:
            return settings, ""
        added = ["data=folder", f"data.root={data}"]
        return [*without(settings, "data"), *added], " ".join(added)
    if root is None or "${" in root or (Path(root).expanduser() / ELPV_MARKER).is_file():
        return settings, ""
    recipe = config_dir / "experiment" / f"{value_of(settings, 'experiment')}.yaml"
    if recipe.is_file() and "override /data:" in recipe.read_text(encoding="utf-8"):
        return settings, ""
    return ["data=folder", *settings], "data=folder, as data.root is given (data=elpv: the solar cells)"


def with_network(settings: list[str], choices: list[str]) -> list[str]:
    """Return the settings with `model=any model.name=NAME` for a name that no file of configs/model has."""
    model = value_of(settings, "model") or "null"
    names = model.split(",")
    others = [name for name in names if name not in choices]
    is_named = value_of(settings, "model.name") is not None
    if is_named or not others or model == "null" or "any" not in choices:
        return settings
    if model.endswith(WEIGHTS):
        raise UserError(f"model={model}: model names a network; write model.weights={model} for a file.")
    if len(others) < len(names):
        raise UserError(f"unknown choice model={others[0]}: write model=any model.name={model}.")
    return ["model=any", f"model.name={model}", *without(settings, "model")]


def without(settings: list[str], key: str) -> list[str]:
    return [setting for setting in settings if not setting.startswith(f"{key}=")]


def refuse_finished_run(settings: Sequence[str], sweeps: bool) -> None:
    """Raise a UserError where a folder that is named for the run holds the files of another.

    A run may be resumed in its own folder.
    """
    resume = value_of(settings, "resume") or "null"
    resumed = None if resume == "null" else Path(resume).expanduser().resolve().parent.parent
    for key in ("paths.run", "hydra.sweep.dir" if sweeps else "hydra.run.dir"):
        folder = Path(value_of(settings, key) or "${")
        if resumed is not None and folder.expanduser().resolve() == resumed:
            continue
        jobs = folder.glob("*/") if key == "hydra.sweep.dir" else ()
        if "${" not in str(folder) and any(map(holds_run, (folder, *jobs))):
            cure = "write resume=last, or another folder" if resumed is None else "write another folder"
            raise UserError(f"{key}={folder} already holds a run: {cure}.")


def holds_run(folder: Path) -> bool:
    return (folder / "metrics.json").exists() or any((folder / "checkpoints").glob("*.ckpt"))
