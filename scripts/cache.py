"""Look at stored features and decoded images, or remove them: python scripts/cache.py [action=clear]

Features are in features/ and decoded images (data.cache=disk) in images/ below the folder that cache.dir
names; runs fill it and keep it below cache.limit_gb.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from graft.cli.script_settings import File, run_script
from graft.settings import Settings

CACHE = Path(os.environ.get("GRAFT_CACHE", "~/.cache/graft")).expanduser()


class CacheScriptSettings(Settings):
    """The settings of cache.py."""

    action: Literal["list", "clear"] = Field("list", description="list, or clear: remove what no run uses")
    dir: File = Field(CACHE, description="the folder with features/ and images/")


def work(settings: dict[str, Any]) -> int:
    """Print one line a recipe, and the sum of either kind; remove them where that is asked for."""
    from graft.data.cache_folders import cache_folders, remove

    for kind, told in (("features", features_of), ("images", images_of)):
        root = settings["dir"] / kind
        folders = cache_folders(root)
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
        sys.stdout.write(f"{total / 1e6:9.1f} MB  in {root}\n")
    return 0


def features_of(recipe: dict[str, Any]) -> str:
    """Say which features a folder holds."""
    height, width = recipe["preprocessing"]["crop"]
    network = f"{recipe['network']['name']} ({recipe['weights']})"
    return f"{network}, {height}x{width} pixels, {recipe['dtype']}"


def images_of(recipe: dict[str, Any]) -> str:
    """Say which decoded images a folder holds."""
    size = "x".join(map(str, recipe["size"])) + (" pixels" if len(recipe["size"]) > 1 else " pixels per side")
    return f"decoded images, {size}, {recipe['interpolation']}"


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", CacheScriptSettings, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
