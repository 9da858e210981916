"""Prepare the solar cells as an image folder: `python scripts/prepare_elpv.py --root data/elpv-0.5`."""

import argparse
import logging
import sys
from pathlib import Path

from graft.data.sources.elpv import prepare_elpv
from graft.errors import UserError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/elpv-0.5"), help="the folder to make")
    parser.add_argument("--cut", type=float, default=0.5, help="defective above this probability")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        prepare_elpv(arguments.root, arguments.cut)
    except UserError as error:
        sys.exit(f"error: {error}")
