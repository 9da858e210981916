"""List the networks that can be used: `python scripts/models.py 'resnet*'`; without a pattern, all."""

import sys
from collections.abc import Sequence

from graft.cli.process import exit_code
from graft.errors import UserError


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return exit_code(lambda: work(arguments))


def work(arguments: Sequence[str]) -> int:
    """Print the table of the networks whose name matches the pattern."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(f"{__doc__}\n")
        return 0
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise UserError("models.py takes one pattern: write python scripts/models.py 'resnet*'.")
    # Here, so that mistakes are told before torch loads.
    from graft.models.backbones.catalogue import find, table

    sys.stdout.write(table(find(arguments[0] if arguments else "*")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
