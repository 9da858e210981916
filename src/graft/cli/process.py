"""Runs a command inside this process: its exit code, one line for a mistake, nothing left behind."""

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator

from graft.errors import UserError


def exit_code(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code.

    0: done; 1: a job of a sweep failed; 2: a mistake of the user's, told in one line (with GRAFT_DEBUG=1 the
    traceback as well); 3: some images could not be read; 130: interrupted; 143: terminated.
    """
    with process_left_as_it_was():
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # An encoding such as ASCII shows é as \\xe9.
                stream.reconfigure(errors="backslashreplace")
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
        except SystemExit as end:  # as Python itself does it
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            sys.stderr.write(f"{end.code}\n" if isinstance(end.code, str) else "")
        flush_or_forget()
    return code


def show(error: Exception) -> None:
    """Print the error's one line; with GRAFT_DEBUG=1 the traceback before it."""
    if os.environ.get("GRAFT_DEBUG") == "1":
        traceback.print_exception(error)
    sys.stderr.write(f"error: {one_line(error)}\n")


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


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
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def all_loggers() -> list[logging.Logger]:
    named = logging.getLogger().manager.loggerDict.values()
    return [logging.getLogger(), *(logger for logger in named if isinstance(logger, logging.Logger))]
