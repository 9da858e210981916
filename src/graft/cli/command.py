"""The command line: the help page, Hydra, and one line for a user's mistake instead of a traceback."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from graft.errors import UserError
from graft.memory import no_collection_while_importing

HYDRA_ARGUMENTS = ("-m", "--multirun", "-c", "--cfg", "-p", "--package", "--resolve", "--info")
DISTRIBUTED_ARGUMENTS = ("-cn", "-cp", "-cd", "--config-name", "--config-path", "--config-dir")


def main(project: Path) -> None:
    """Run `train.py` with the configs of `project`, its folder, and the arguments of the process."""
    arguments = sys.argv[1:]
    os.environ["GRAFT_ROOT"] = str(project)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them.
    try:
        if {"-h", "--help"} & set(arguments):
            from graft.cli.help_page import help_page

            sys.stdout.write(help_page(project / "configs"))
            return
        refuse_unknown_flags(arguments)
        run_hydra(project / "configs")
    except UserError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        raise SystemExit(130) from None


def run_hydra(config_dir: Path) -> None:
    """Compose the settings and train, once or (`-m`) once for every combination of a sweep."""
    import hydra
    from hydra.errors import HydraException, InstantiationException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    @hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")
    def job(config: DictConfig) -> None:
        # A mistake ends the process here, before Hydra can report it in its own, longer way.
        from graft.cli.configuration import refuse_unknown_keys, refuse_wrong_kinds
        from graft.cli.hydra_errors import explain

        try:
            refuse_unknown_keys(config, config_dir)
            refuse_wrong_kinds(config, config_dir)
            with no_collection_while_importing():
                from graft.training.run import train
            train(config)
        except UserError as error:
            fail(error)
        except (OmegaConfBaseException, InstantiationException) as error:
            fail(explain(error, config_dir))

    try:
        job()
    except (HydraException, OmegaConfBaseException, OSError) as error:
        from graft.cli.hydra_errors import explain

        raise explain(error, config_dir) from error


def refuse_unknown_flags(arguments: list[str]) -> None:
    """Raise a UserError for `--key=value`: settings are written without dashes."""
    for argument in arguments:
        flag = argument.split("=", 1)[0]
        if not flag.startswith("-") or flag in (*HYDRA_ARGUMENTS, *DISTRIBUTED_ARGUMENTS):
            continue
        if flag.startswith("--hydra"):
            continue
        setting = argument.lstrip("-")
        advice = f"write {setting}" if "=" in setting else f"write {setting}=VALUE"
        raise UserError(f"settings have no dashes: {advice} instead of {argument} (--help shows all).")


def fail(error: UserError) -> NoReturn:
    """Print the error's one line and exit with 2; with GRAFT_DEBUG=1 show the traceback as well."""
    if os.environ.get("GRAFT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    raise SystemExit(2)
