"""Decides whether compiling the training step pays for itself."""

import logging
import os
import shutil

from graft.errors import UserError

log = logging.getLogger(__name__)

COMPILERS = ("g++", "clang++", "cl")
# Passes of an image through the network from which on compiling saves time on a GPU, where a step takes
# milliseconds and compiling a minute or two.
ENOUGH_PASSES = 1_000_000


def resolve_compile(choice: bool | str, device: str, passes: int) -> bool:
    """Return whether to compile for so many `passes` of training images through a trainable backbone.

    `auto` compiles long runs on a GPU only: on CPUs the training step was not faster (docs/benchmarks.md).
    Raises UserError where `true` lacks a C++ compiler.
    """
    has_compiler = any(shutil.which(compiler) for compiler in (*COMPILERS, os.environ.get("CXX", "g++")))
    if choice is True and not has_compiler:
        raise UserError("compile=true needs a C++ compiler (g++ or clang++); write compile=false.")
    if choice == "auto":
        pays = has_compiler and device == "cuda" and passes >= ENOUGH_PASSES
        log.info("compile    %s: %d passes of images on %s", "yes" if pays else "no", passes, device)
        return pays
    return bool(choice)
