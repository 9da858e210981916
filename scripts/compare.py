# room: reporting
"""Compare two runs on the same test images: python scripts/compare.py RUN RUN

Prints metrics of both, 95 % intervals of their differences (paired bootstrap) and, for classes and labels,
McNemar's exact test; all images count as independent. This compares two trained models: to compare settings,
train both with several seeds.
"""

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from graft.cli.script_settings import File, run_script
from graft.settings import Settings


class CompareSettings(Settings):
    """The settings of compare.py."""

    first: File = Field(description="the folder of a run")
    second: File = Field(description="the folder of the run to compare with it")


def work(settings: dict[str, Any]) -> int:
    """Print the comparison."""
    # Here, so that mistakes in the settings are told before scikit-learn loads.
    from graft.reporting.comparison import compare

    sys.stdout.write(f"{compare(settings['first'], settings['second'])}\n")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", CompareSettings, work, ("first", "second"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
