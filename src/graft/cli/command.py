"""The command `train.py`: arguments, settings composed by Hydra, one job or the jobs of a sweep."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graft.cli.process import exit_code, one_line, restore_environment, show
from graft.errors import UserError
from graft.memory import no_collection_while_importing

SHOWS_ONLY = ("-c", "--cfg", "--info", "-sc", "--shell-completion")


def main(arguments: Sequence[str], project: Path) -> int:
    """Run `train.py` of the folder `project` with these arguments and return the exit code.

    0 where all went well; 1 where jobs of a sweep failed, which are listed; 2 for a mistake, told in one
    line; 130 when interrupted, 143 when terminated.
    """
    return exit_code(lambda: run(list(arguments), project))


def run(arguments: list[str], project: Path) -> int:
    """Print the help page, or compose the settings and train."""
    os.environ["GRAFT_ROOT"] = str(project)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them.
    config_dir = project / "configs"
    if {"-h", "--help"} & set(arguments):
        from graft.cli.help_page import help_page

        topics = [argument for argument in arguments if not argument.startswith("-") and "=" not in argument]
        sys.stdout.write(help_page(config_dir, topics[0] if topics else None))
        return 0
    from graft.cli.shortcuts import prepare

    is_first = "LOCAL_RANK" not in os.environ
    arguments, notes = prepare(arguments, project, owns_folder=is_first)
    if is_first and not shows_only(arguments):
        sys.stdout.writelines(f"note       {note}\n" for note in notes)
    sys.argv[1:] = arguments
    return run_hydra(arguments, config_dir)


def run_hydra(arguments: list[str], config_dir: Path) -> int:
    """Compose the settings and train, once or (`-m`) once for every combination of a sweep.

    Every job of a sweep runs, whatever becomes of the others; those that failed are listed at the end.
    """
    import hydra
    from hydra.errors import HydraException, InstantiationException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from graft.cli.hydra_errors import explain
    from graft.cli.run_folder import folder_maker

    sweeps = bool({"-m", "--multirun"} & set(arguments))
    new_folder = str if shows_only(arguments) else folder_maker()
    OmegaConf.register_new_resolver("new_folder", new_folder, replace=True)
    mistakes: list[UserError] = []
    failed: list[str] = []

    @hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")
    def job(config: DictConfig) -> None:
        # What the job raises is kept here, before Hydra can report it in its own, longer way.
        overrides = enter_job(sweeps)
        environment = dict(os.environ)
        try:
            train(config)
        except UserError as error:
            mistakes.append(error)
        except (OmegaConfBaseException, InstantiationException) as error:
            mistakes.append(explain(error, config_dir))
        except Exception as error:
            if not sweeps:
                raise
            show(error)
            failed.append(f"{' '.join(overrides)}: {type(error).__name__}: {one_line(error)}")
        if sweeps and mistakes:
            mistake = mistakes.pop()
            show(mistake)
            failed.append(f"{' '.join(overrides)}: {one_line(mistake)}")
        if sweeps:
            restore_environment(environment)

    try:
        job()
    except ValueError as error:
        if "can only be used" in str(error) or "Only one of" in str(error):  # flags that exclude each other
            raise UserError(one_line(error)) from error
        if "Config group override" in str(error):
            raise UserError(group_without_name(arguments, config_dir)) from error
        raise
    except (HydraException, OmegaConfBaseException, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise explain(error, config_dir) from error
    if mistakes:
        raise mistakes[0]
    if failed:
        sys.stderr.write(f"{len(failed)} jobs of the sweep failed:\n")
        sys.stderr.writelines(f"  {line}\n" for line in failed)
    return 1 if failed else 0


def group_without_name(arguments: list[str], config_dir: Path) -> str:
    """Return what to write instead of a group that is set to a value which names no file: `logger=null`."""
    from graft.cli.config_groups import group_choices

    choices = group_choices(config_dir)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in choices and value not in choices[key]:
            return f"{key}={value} is no choice. Choices of {key}: {', '.join(choices[key])}."
    return "a group of settings takes the name of one of its files."


def shows_only(arguments: list[str]) -> bool:
    """Return whether the command prints settings or completions and runs nothing."""
    return any(argument.split("=", 1)[0] in SHOWS_ONLY for argument in arguments)


def enter_job(sweeps: bool) -> list[str]:
    """Return the job's overrides, and let processes that Lightning starts run this job and no other."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, read_write

    hydra: DictConfig = HydraConfig.get()  # type: ignore[assignment]  # Hydra declares what it is made from.
    overrides = [str(override) for override in hydra.overrides.task]
    if sweeps:
        with read_write(hydra), read_write(hydra.run):
            hydra.run.dir = hydra.runtime.output_dir
        sys.argv[1:] = overrides
    return overrides


def train(config: Any) -> None:
    """Check the settings, and only then import what trains."""
    from graft.cli.settings import check_settings

    check_settings(config)
    with no_collection_while_importing():
        from graft.training.run import train
    train(config)
