"""Predict new pictures: `python scripts/predict.py checkpoint=best.ckpt input=FOLDER`."""

import csv
import sys
from pathlib import Path

from graft.errors import UserError, suggestion

SETTINGS = {"checkpoint": "", "input": "", "output": "predictions.csv", "batch_size": "32"}


def read_settings(arguments: list[str]) -> dict[str, str]:
    """Return the settings given as key=value; UserError for an unknown or a missing one."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    for key in given:
        if key not in SETTINGS:
            raise UserError(f"there is no setting '{key}'.{suggestion(key, SETTINGS)}")
    settings = SETTINGS | given
    for key, value in settings.items():
        if not value:
            raise UserError(f"{key} is needed: write {key}=PATH.")
    if not settings["batch_size"].isdigit() or settings["batch_size"] == "0":
        raise UserError(f"batch_size={settings['batch_size']}: it is a number of 1 or more.")
    return settings


def main() -> int:
    """Write the predictions; return 3 where pictures could not be read, 2 for a mistake."""
    try:
        settings = read_settings(sys.argv[1:])
        from graft.checkpoints import load_classifier
        from graft.inference import find_pictures, predict

        loaded = load_classifier(Path(settings["checkpoint"]))
        pictures = find_pictures(Path(settings["input"]))
        bad = 0
        with Path(settings["output"]).open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines)
            writer.writerow(["path", "label", "probability", *loaded.class_names, "error"])
            for found in predict(loaded, pictures, int(settings["batch_size"])):
                shares = [f"{p:.6f}" for p in found.probabilities] or [""] * len(loaded.class_names)
                best = f"{max(found.probabilities):.6f}" if found.probabilities else ""
                writer.writerow([found.path, found.label, best, *shares, found.error])
                bad += bool(found.error)
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{len(pictures)} pictures, {bad} unreadable: {settings['output']}\n")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
