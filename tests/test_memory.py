"""Importing is quick, and nothing that a run leaves behind stays because of it."""

import gc
import subprocess
import sys
import weakref

from graft.memory import no_collection_while_importing


class Node:
    """Something that refers to itself, which only a collection of garbage finds."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_run_leaves_is_collected_although_the_next_one_imports_again() -> None:
    with no_collection_while_importing():
        pass
    node = Node()
    left = weakref.ref(node)
    del node
    with no_collection_while_importing():
        pass
    gc.collect()
    assert left() is None
    assert gc.isenabled()


def test_what_is_imported_first_is_left_out_of_collections() -> None:
    code = "import gc; from graft.memory import no_collection_while_importing as n\n"
    code += "with n():\n    assert not gc.isenabled(); kept = [[] for _ in range(1000)]\n"
    code += "print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "True"]
