"""List the networks that can be used: `python scripts/models.py 'resnet*'`; without a pattern, all."""

import argparse
import sys

from graft.errors import UserError
from graft.models.backbones.catalogue import find, table


def main() -> None:
    """Print the table of the networks whose name matches the pattern."""
    parser = argparse.ArgumentParser(description="List the networks that can be used.")
    parser.add_argument("pattern", nargs="?", default="*", help="shell-style: 'resnet*' (all)")
    try:
        sys.stdout.write(table(find(parser.parse_args().pattern)) + "\n")
    except BrokenPipeError:
        sys.stderr.close()  # The reader (`| head`) has seen enough.
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
