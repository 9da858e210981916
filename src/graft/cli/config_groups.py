"""What the config folder offers: its groups and the files of each."""

from pathlib import Path


def group_choices(config_dir: Path) -> dict[str, list[str]]:
    """Return the file names, without ending, of every config group."""
    groups = sorted(folder for folder in config_dir.iterdir() if folder.is_dir())
    return {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in groups}
