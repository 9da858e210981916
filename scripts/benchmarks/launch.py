"""Runs a command, and writes its exit code, seconds and peak memory into a file as a JSON object.

python launch.py FILE COMMAND ...: a process of its own, since Linux counts the memory of whoever starts a
process into that one's peak.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(told: Path, command: list[str]) -> None:
    """Run the command, and say how it went."""
    began = time.monotonic()
    code = subprocess.run(command).returncode
    seconds = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    told.write_text(json.dumps({"code": code, "seconds": seconds, "memory": memory}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
