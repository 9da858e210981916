"""Look at the stored features, or remove them: python scripts/cache.py [action=clear]

They are in the folder that features.dir names; runs fill it and keep it below features.limit_gb.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from graft.script_settings import Setting, one_of, path, run_script

DEFAULT = Path(os.environ.get("GRAFT_CACHE", "~/.cache/graft")).expanduser() / "features"
SETTINGS = {
    "action": Setting(one_of("list", "clear"), "list, or clear: remove what no run is filling", "list"),
    "dir": Setting(path, "the folder of features", DEFAULT),
}


def main(settings: dict[str, Any]) -> int:
    """Print one line a network and preprocessing, and the sum; remove them where that is asked for."""
    from graft.cache_folders import cache_folders, remove

    folders = cache_folders(settings["dir"])
    for folder in folders:
        recipe = folder.recipe
        height, width = recipe["preprocessing"]["crop"]
        days = (time.time() - folder.last_used) / 86400
        kept = ""
        if settings["action"] == "clear":
            kept = "  removed" if remove(folder) else "  in use, kept"
        sys.stdout.write(
            f"{folder.size / 1e6:9.1f} MB  used {days:4.0f} days ago  {recipe['network']['name']} "
            f"({recipe['weights']}), {height}x{width} pixels, {recipe['dtype']}  {folder.path.name}{kept}\n"
        )
    total = sum(folder.size for folder in folders)
    sys.stdout.write(f"{total / 1e6:9.1f} MB  in {settings['dir']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(__doc__, SETTINGS, main))
