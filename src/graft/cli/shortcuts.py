"""What train's arguments stand for: a folder of images, a network by its name, a run to go on with."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from graft.cli.arguments import TEXTS, quoted_texts, refuse_other_forms, split_flags, unquoted, value_of
from graft.cli.config_groups import group_choices
from graft.cli.hydra_errors import known_keys
from graft.cli.run_folder import refuse_finished_run
from graft.cli.words import translation
from graft.errors import UserError

ELPV_MARKER = ".dataset.json"  # See graft.data.elpv, which is not imported here: it is not needed for this.
WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")


def prepare(arguments: Sequence[str], project: Path, owns_folder: bool = True) -> tuple[list[str], list[str]]:
    """Return the arguments as Hydra takes them, and a note for each thing that was added to them.

    Raises UserError, with what to write instead, for arguments of another form or with foreign words, and
    where a folder that is named holds a run already (`owns_folder`: not in distributed training's others).
    """
    if {"-sc", "--shell-completion"} & set(arguments):
        return list(arguments), []
    config_dir = project / "configs"
    flags, words = split_flags(arguments)
    refuse_other_choices(flags)
    sweeps = bool({"-m", "--multirun"} & set(flags))
    known = known_keys(config_dir)
    settings = refuse_other_forms(words, lambda word: translation(word, known), bare_word)
    notes: list[str] = []
    settings, from_run = with_settings_of_run(settings, project)
    settings, from_data = with_folder(settings, config_dir)
    settings, from_model = with_network(settings, config_dir)
    notes = [note for note in (from_run, from_data, from_model) if note]
    settings = quoted_texts(settings, sweeps)
    if owns_folder and value_of(settings, "resume") in (None, "null"):
        keys = ("paths.run", "hydra.sweep.dir" if sweeps else "hydra.run.dir")
        named = [(key, value) for key in keys if (value := value_of(settings, key)) and "${" not in value]
        refuse_finished_run([(key, Path(value)) for key, value in named])
    return [*flags, *settings], notes


def refuse_other_choices(flags: list[str]) -> None:
    """Raise a UserError for `--cfg` with another word, for which Hydra would print its usage."""
    for number, flag in enumerate(flags):
        name, _, value = flag.partition("=")
        if name in ("-c", "--cfg"):
            value = value or "".join(flags[number + 1 : number + 2])
            if value not in ("job", "hydra", "all"):
                raise UserError(f"{name} {value}: write {name} job, hydra or all.")


def bare_word(word: str) -> str:
    """Return what a word without `=` may mean: a folder of images, or a setting without its value."""
    if "/" in word or Path(word).exists():
        return f"data=folder data.root={word}"
    return f"{word}=VALUE"


def with_folder(settings: list[str], config_dir: Path) -> tuple[list[str], str]:
    """Return the settings with `data=folder` where a folder of images is given, and a note."""
    data, root = value_of(settings, "data"), value_of(settings, "data.root")
    is_choice = data is None or data in group_choices(config_dir)["data"]
    if data and root is None and not is_choice and (set(data) & set("/~.") or Path(data).exists()):
        others = [setting for setting in settings if not setting.startswith("data=")]
        return [*others, "data=folder", f"data.root={data}"], f"data=folder data.root={data}"
    recipe = config_dir / "experiment" / f"{value_of(settings, 'experiment')}.yaml"
    says_data = recipe.is_file() and "override /data:" in recipe.read_text(encoding="utf-8")
    if data is not None or root is None or "${" in root or says_data:
        return settings, ""
    if (Path(root).expanduser() / ELPV_MARKER).is_file():
        return settings, ""
    return ["data=folder", *settings], "data=folder, as data.root is given (data=elpv: the solar cells)"


def with_network(settings: list[str], config_dir: Path) -> tuple[list[str], str]:
    """Return the settings with `model=any model.name=NAME` for a name that no file of configs/model has."""
    model, choices = value_of(settings, "model"), group_choices(config_dir)["model"]
    if not model or model == "null" or "any" not in choices or value_of(settings, "model.name") is not None:
        return settings, ""
    names = model.split(",")
    others = [name for name in names if name not in choices]
    if not others:
        return settings, ""
    if model.endswith(WEIGHTS):
        raise UserError(f"model={model}: model names a network; write model.weights={model} for a file.")
    if len(others) < len(names):
        raise UserError(
            f"model={model}: {', '.join(others)} has no file in configs/model, the others have; "
            f"write model=any model.name={model}."
        )
    kept = [setting for setting in settings if not setting.startswith("model=")]
    return ["model=any", f"model.name={model}", *kept], ""


def with_settings_of_run(settings: list[str], project: Path) -> tuple[list[str], str]:
    """Return the settings of the run that `resume` names under those that are given, and a note."""
    resume = value_of(settings, "resume")
    if resume is None or resume == "null":
        return settings, ""
    path = Path(resume).expanduser()
    if resume == "last" and not path.exists():
        run = newest_run(settings, project)
    elif path.is_dir():
        run = path.parent if path.name == "checkpoints" else path
        settings = [s for s in settings if not s.startswith("resume=")]
        settings.append(f"resume={checkpoint_of(run, 'last', 'best')}")
    else:
        run = path.parent.parent
    own = settings_of_run(run) if run else []
    given = {setting.partition("=")[0].lstrip("+~") for setting in settings}
    kept = [setting for setting in own if setting.partition("=")[0].lstrip("+~") not in given]
    return [*kept, *settings], f"settings of {run}" if kept else ""


def newest_run(settings: list[str], project: Path) -> Path | None:
    """Return the run that `last` means: in the folder that is named where it holds one, else the newest."""
    named = value_of(settings, "hydra.run.dir")
    if named and (Path(named).expanduser() / "checkpoints" / "last.ckpt").is_file():
        return Path(named).expanduser()
    logs = Path(value_of(settings, "paths.logs") or project / "logs").expanduser()
    found = (logs / "train" / "runs").glob("*/checkpoints/last.ckpt")
    newest = max(found, key=lambda file: file.stat().st_mtime, default=None)
    return newest.parent.parent if newest else None


def checkpoint_of(run: Path, *names: str) -> Path:
    """Return a run's checkpoint, the first of these names that is there; raise UserError where none is."""
    folder = run if run.name == "checkpoints" else run / "checkpoints"
    for name in names:
        if (folder / f"{name}.ckpt").is_file():
            return folder / f"{name}.ckpt"
    raise UserError(f"{run} is no run's folder: it has no checkpoints/{names[0]}.ckpt.")


def settings_of_run(run: Path) -> list[str]:
    """Return the settings that a run was given, paths as seen from here; none where it kept no record."""
    try:
        record = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        hydra = yaml.safe_load((run / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    folder = Path(hydra["hydra"]["runtime"]["cwd"])
    return [from_here(setting, folder) for setting in record or [] if not setting.startswith("resume=")]


def from_here(setting: str, folder: Path) -> str:
    """Return a setting whose relative path was meant from another folder so that it is right from here."""
    key, _, value = setting.partition("=")
    path = folder / unquoted(value)
    is_path = key.lstrip("+") in TEXTS and key != "model.name" and value not in ("null", "")
    return f"{key}={path}" if is_path and folder != Path.cwd() and path.exists() else setting
