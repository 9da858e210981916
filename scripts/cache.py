"""Look at stored features and decoded pictures, or remove them: python scripts/cache.py [action=clear]

Features are in the folder that features.dir names; runs fill it and keep it below features.limit_gb. Decoded
pictures (data.cache=disk) are in pictures/ below data.cache_dir; they stay until they are removed here.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graft.cli.script_settings import Setting, one_of, path, run_script

CACHE = Path(os.environ.get("GRAFT_CACHE", "~/.cache/graft")).expanduser()
SETTINGS = {
    "action": Setting(one_of("list", "clear"), "list, or clear: remove what no run is filling", "list"),
    "dir": Setting(path, "the folder of features", CACHE / "features"),
    "pictures": Setting(path, "the folder of decoded pictures", CACHE / "pictures"),
}


def work(settings: dict[str, Any]) -> int:
    """Print one line a recipe, and the sum of either kind; remove them where that is asked for."""
    from graft.cache_folders import cache_folders, remove

    for kind, told in (("dir", features_of), ("pictures", pictures_of)):
        folders = cache_folders(settings[kind])
        for folder in folders:
            days = (time.time() - folder.last_used) / 86400
            kept = ""
            if settings["action"] == "clear":
                kept = "  removed" if remove(folder) else "  in use, kept"
            sys.stdout.write(
                f"{folder.size / 1e6:9.1f} MB  used {days:4.0f} days ago  {told(folder.recipe)}  "
                f"{folder.path.name}{kept}\n"
            )
        total = sum(folder.size for folder in folders)
        sys.stdout.write(f"{total / 1e6:9.1f} MB  in {settings[kind]}\n")
    return 0


def features_of(recipe: dict[str, Any]) -> str:
    """Say which features a folder holds."""
    height, width = recipe["preprocessing"]["crop"]
    part = f" up to {recipe['before'].removeprefix('network.')}" if "before" in recipe else ""
    network = f"{recipe['network']['name']}{part} ({recipe['weights']})"
    return f"{network}, {height}x{width} pixels, {recipe['dtype']}"


def pictures_of(recipe: dict[str, Any]) -> str:
    """Say which decoded pictures a folder holds."""
    size = "x".join(map(str, recipe["size"])) + (" pixels" if len(recipe["size"]) > 1 else " pixels a side")
    return f"decoded pictures, {size}, {recipe['interpolation']}"


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", SETTINGS, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
