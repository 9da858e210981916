"""The jobs of `train.py`: composes the settings with Hydra, checks them, trains, explains Hydra's errors."""

import contextlib
import itertools
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra import errors
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from graft.cli.checking import nearest_key
from graft.cli.config_files import group_choices, known_keys
from graft.cli.process import one_line, restore_environment, show
from graft.cli.settings import check_settings
from graft.errors import UserError, suggestion
from graft.memory import no_collection_while_importing

# What Hydra's ValueErrors say about arguments: flags that exclude each other, a group without a file.
WRONG_ARGUMENTS = ("can only be used", "Only one of", "Config group override")


def run_jobs(arguments: list[str], config_dir: Path, shows_only: bool) -> int:
    """Train once, or (`-m`) for every combination of a sweep; jobs that fail are listed at the end."""
    sweeps = bool({"-m", "--multirun"} & set(arguments))
    # Cached: a command makes a folder once, however often Hydra asks for it.
    OmegaConf.register_new_resolver("new_folder", str if shows_only else cache(new_folder), replace=True)
    of_hydra = (OmegaConfBaseException, errors.InstantiationException)
    failed: list[tuple[str, Exception]] = []  # the overrides and the error of each job

    @hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")
    def job(config: DictConfig) -> None:
        overrides = " ".join(enter_job(sweeps))
        environment = dict(os.environ)
        try:
            with no_collection_while_importing():
                check_settings(config)  # First: what is declared is checked without torch.
                from graft.training.run import train

                recipe: Any = None
                if config.recipe is not None:  # room: recipes
                    from graft.recipes.auto import fit_within_budget as recipe  # room: recipes
            run = train(config, recipe)
            if run.is_first_process:  # room: reporting
                from graft.reporting.results import write_results  # room: reporting

                write_results(run)  # room: reporting
        except Exception as error:
            # Kept here, before Hydra reports it in its own, longer way.
            told = explain(error, config_dir) if isinstance(error, of_hydra) else error
            if not sweeps and not isinstance(told, UserError):
                raise
            failed.append((overrides, told))
            if sweeps:
                show(told)
        if sweeps:
            restore_environment(environment)

    try:
        job()
    except (errors.HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        is_bug = type(error) is ValueError and not any(words in str(error) for words in WRONG_ARGUMENTS)
        if is_bug or isinstance(error, BrokenPipeError):
            raise
        raise explain(error, config_dir, arguments) from error
    if not failed:
        return 0
    if not sweeps:
        raise failed[0][1]
    sys.stderr.write(f"{len(failed)} jobs of the sweep failed:\n")
    for overrides, cause in failed:
        kind = "" if isinstance(cause, UserError) else f"{type(cause).__name__}: "
        sys.stderr.write(f"  {overrides}: {kind}{one_line(cause)}\n")
    return 1


def new_folder(path: str) -> str:
    """Make the folder, or the first of PATH-2, PATH-3, ... that no other run has, and return its path."""
    for folder in itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            Path(folder).mkdir(parents=True)
            return folder
    raise AssertionError("count() does not end")


def enter_job(sweeps: bool) -> list[str]:
    """Return the job's overrides, and let processes that Lightning starts run this job and no other."""
    job: DictConfig = HydraConfig.get()  # type: ignore[assignment]  # Hydra declares what it is made from.
    overrides = [str(override) for override in job.overrides.task]
    if sweeps:
        with read_write(job), read_write(job.run):
            job.run.dir = job.runtime.output_dir
        sys.argv[1:] = overrides
    return overrides


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
