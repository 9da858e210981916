"""The jobs of `train.py`: composes the settings with Hydra, checks them, trains, explains Hydra's errors."""

import contextlib
import itertools
import math
import os
import re
import shutil
import sys
import time  # room: recipes
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra import errors
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from graft.cli.arguments import value_of
from graft.cli.checking import nearest_key
from graft.cli.config_files import group_choices, known_keys
from graft.cli.process import restore_environment, show
from graft.cli.settings import check_settings
from graft.errors import UserError, suggestion
from graft.memory import no_collection_while_importing

if TYPE_CHECKING:
    from graft.finished_run import FinishedRun, SweepJob

# What Hydra's ValueErrors say about arguments: flags that exclude each other, a group without a file.
WRONG_ARGUMENTS = ("can only be used", "Only one of", "Config group override")
LONGEST_NAME = 100  # characters of a folder's name
HYDRAS_FILES = {".hydra", "train.log", "multirun.yaml"}  # in a run's folder before the run begins


def run_jobs(
    arguments: list[str], config_dir: Path, shows_only: bool, finished: "list[FinishedRun] | None" = None
) -> int:
    """Train once, or (`-m`) for every combination of a sweep, which ends with a table of its jobs.

    The runs are added to `finished`.
    """
    sweeps = bool({"-m", "--multirun"} & set(arguments))
    named = (value_of(arguments, key) for key in ("hydra.run.dir", "hydra.sweep.dir"))
    made = [Path(folder) for folder in named if folder and not Path(folder).exists()]

    @cache  # A command makes a folder once, however often Hydra asks for it.
    def folder_of_its_own(path: str) -> str:
        made.append(Path(new_folder(path)))
        return str(made[-1])

    OmegaConf.register_new_resolver("new_folder", str if shows_only else folder_of_its_own, replace=True)
    OmegaConf.register_new_resolver("job_folder", partial(job_folder, arguments), replace=True)
    of_hydra = (OmegaConfBaseException, errors.InstantiationException)
    jobs: list[SweepJob] = []
    failures: list[Exception] = []
    sweep_folder = Path()

    @hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")
    def job(config: DictConfig) -> float:
        """Train and return the best value of the monitored metric, which a sweeper optimises."""
        nonlocal sweep_folder
        overrides = enter_job(sweeps)
        sweep_folder = Path(HydraConfig.get().sweep.dir) if sweeps else Path()
        environment = dict(os.environ)
        objective = math.nan  # of a job that failed
        try:
            run = trained(config)
            objective = run.metrics[config.monitor]
            if finished is not None:
                finished.append(run)
            if sweeps:
                from graft.cli.sweep import finished_job

                jobs.append(finished_job(overrides, run))
        except Exception as error:
            # Kept here, before Hydra reports it in its own, longer way.
            told = explain(error, config_dir) if isinstance(error, of_hydra) else error
            if not sweeps and not isinstance(told, UserError):
                raise
            failures.append(told)
            if sweeps:
                from graft.cli.sweep import failed_job

                show(told)
                jobs.append(failed_job(overrides, told))
        if sweeps:
            restore_environment(environment)
        return objective

    try:
        job()
    except (errors.HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        is_bug = type(error) is ValueError and not any(words in str(error) for words in WRONG_ARGUMENTS)
        if is_bug or isinstance(error, BrokenPipeError):
            raise
        remove_unused(made)
        raise explain(error, config_dir, arguments) from error
    finally:
        if jobs:  # Also of a sweep that is interrupted.
            from graft.cli.sweep import end_sweep

            end_sweep(jobs, sweep_folder)
    if failures and not sweeps:
        remove_unused(made)
        raise failures[0]
    return int(bool(failures))


def trained(config: DictConfig) -> "FinishedRun":
    started = time.time()  # room: recipes
    with no_collection_while_importing():
        check_settings(config)  # First: what is declared is checked without torch.
        from graft.training.run import train

        recipe: Any = None
        if config.recipe is not None:  # room: recipes
            from graft.recipes.auto import fit_within_budget  # room: recipes

            recipe = partial(fit_within_budget, started=started)  # room: recipes
    run = train(config, recipe)
    if run.is_first_process:  # room: reporting
        from graft.reporting.results import show_advice, write_results  # room: reporting

        show_advice(write_results(run))  # room: reporting
    return run


def new_folder(path: str) -> str:
    """Make the folder, or the first of PATH-2, PATH-3, ... that no other run has, and return its path."""
    for folder in itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            Path(folder).mkdir(parents=True)
            return folder
    raise AssertionError("count() does not end")


def remove_unused(folders: Sequence[Path]) -> None:
    """Remove those folders of a refused command that hold nothing but what Hydra writes before a run."""
    for folder in folders:
        if folder.is_dir() and {file.name for file in folder.iterdir()} <= HYDRAS_FILES:
            shutil.rmtree(folder, ignore_errors=True)


def job_folder(arguments: Sequence[str], number: int, overrides: Sequence[str]) -> str:
    """Return a name for a job's folder: its number, and the overrides that not all jobs of the sweep have."""
    typed = [word for word in arguments if "=" in word and not word.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(typed)
    shared = {override.get_key_element() for override in parsed if not override.is_sweep_override()}
    own = [word.lstrip("+") for word in as_typed(overrides) if word.partition("=")[0] not in shared]
    return re.sub(r"[^\w.,=+-]+", "-", f"{number}_{','.join(own)}".rstrip("_"), flags=re.ASCII)[:LONGEST_NAME]


def enter_job(sweeps: bool) -> list[str]:
    """Return the job's overrides, and let processes that Lightning starts run this job and no other."""
    job: DictConfig = HydraConfig.get()  # type: ignore[assignment]  # Hydra declares what it is made from.
    overrides = as_typed(job.overrides.task)
    if sweeps:
        with read_write(job), read_write(job.run):
            job.run.dir = job.runtime.output_dir
        sys.argv[1:] = overrides
    return overrides


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with true and false in small letters; Hydra's sweeps write True and False."""
    return [re.sub("=(True|False)$", lambda found: found[0].lower(), override) for override in overrides]


def explain(error: Exception, config_dir: Path, arguments: Sequence[str] = ()) -> UserError:
    """Return the UserError that says in one line what is wrong with the arguments."""
    while not str(error) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = str(error) or type(error).__name__
    if isinstance(error, errors.MissingConfigException) and error.missing_cfg_file:
        return unknown_choice(error.missing_cfg_file, config_dir)
    if isinstance(error, errors.OverrideParseException):
        quoting = "Quote a value with commas, brackets or braces for the shell and for Hydra: \"KEY='a, b'\"."
        return UserError(f"cannot read '{error.override}': write KEY=VALUE. {quoting}")
    found = re.search(r"full_key: (\S+)", text) or re.search(r"(?:mandatory value: |target ')([^\s']+)", text)
    key = found[1] if found else "a setting"
    if isinstance(error, MissingMandatoryValue):
        return UserError(f"{key} is needed: write {key}=VALUE.")
    if isinstance(error, errors.InstantiationException) and error.__cause__ is not None:
        return UserError(f"{key} does not fit: {error.__cause__}")
    if isinstance(error, OSError):
        file, reason = error.filename or "a file", error.strerror or error
        return UserError(f"cannot write or read {file} ({reason}): free space, or write hydra.run.dir=DIR.")
    choices = group_choices(config_dir)
    if found := re.search(r"Could not override '([^'@]+)", text):
        key, known = found[1], known_keys(config_dir)
        if key in choices:
            return UserError(f"'{key}' is a group: write {key}=NAME with a file of configs/{key}/.")
        if key in known:
            return UserError(f"{key} has no such entry yet: write +{key}.NAME=VALUE to add one.")
        return UserError(f"unknown setting '{key}'.{nearest_key(key, known)} (--help shows all.)")
    if "Config group override" in text:  # a value that names no file, such as logger=null
        for key, _, value in (argument.partition("=") for argument in arguments):
            if key in choices and value not in choices[key]:
                return unknown_choice(f"{key}/{value}", config_dir)
    return UserError(text.splitlines()[0])


def unknown_choice(missing: str, config_dir: Path) -> UserError:
    group, _, choice = missing.rpartition("/")
    choices = group_choices(config_dir).get(group)
    if choices is None:
        return UserError(f"there is no config file {missing}.yaml.")
    hint = suggestion(choice, choices)
    return UserError(f"unknown choice {group}={choice}.{hint} Choices of {group}: {', '.join(choices)}.")
