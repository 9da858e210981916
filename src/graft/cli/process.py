"""Runs a command inside this process: its exit code, one line for a mistake, nothing left behind."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator

from graft.errors import UserError


def exit_code(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code.

    0: done; 1: a job of a sweep failed; 2: a mistake of the user's, told in one line (with GRAFT_DEBUG=1 the
    traceback as well); 3: some images could not be read; 130: interrupted; 143: terminated.
    """
    with process_left_as_it_was():
        write_any_character()
        logging.raiseExceptions = False  # A reader that has left (`| head`) does not stop the run.
        try:
            code = work()
        except (UserError, OSError) as error:
            code = 0 if isinstance(error, BrokenPipeError) else 2
            if code:
                show(error)
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
            code = 130
        except SystemExit as end:
            code = code_of(end)
        flush_or_forget()
    return code


def show(error: Exception) -> None:
    """Print the error's one line; with GRAFT_DEBUG=1 the traceback before it."""
    if os.environ.get("GRAFT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"error: {one_line(error)}\n")


def one_line(error: Exception) -> str:
    """Return what an error says in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def code_of(end: SystemExit) -> int:
    """Return the exit code that Python would make of a SystemExit, and print its message."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return 1


def write_any_character() -> None:
    """Let output in an encoding such as ASCII show what it lacks as `\\xe9` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_or_forget() -> None:
    """Write out what is left; where nobody reads it any more, Python must not try again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def process_left_as_it_was() -> Iterator[None]:
    """Restore arguments, environment, logging and torch's threads, which a command changes."""
    arguments, environment, raises = list(sys.argv), dict(os.environ), logging.raiseExceptions
    loggers = {logger: (logger.level, list(logger.handlers), logger.propagate) for logger in all_loggers()}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    try:
        yield
    finally:
        sys.argv[:] = arguments
        restore_environment(environment)
        for logger in all_loggers():
            level, handlers, propagate = loggers.get(logger, (logging.NOTSET, [], True))
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        logging.raiseExceptions = raises
        if torch:
            torch.set_num_threads(threads)


def restore_environment(environment: dict[str, str]) -> None:
    """Make the environment what it was, touching only what has changed."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def all_loggers() -> list[logging.Logger]:
    """Return the root and every logger that exists."""
    named = logging.getLogger().manager.loggerDict.values()
    return [logging.getLogger(), *(logger for logger in named if isinstance(logger, logging.Logger))]
