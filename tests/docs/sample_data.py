"""Small data of every kind that the pages speak of, made in the project's folder."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SHADES = {"daisy": (230, 220, 120), "rose": (200, 60, 80), "tulip": (120, 80, 190)}
SIDE = 64


def write_sample_data(project: Path) -> None:
    """Write the folders and tables that the pages use; each page says what lies in them."""
    chance = np.random.default_rng(0)
    for name, shade in SHADES.items():
        for number in range(12):
            write_image(project / "photos" / name / f"{number:02d}.jpg", shade, chance)
            if number < 2:
                write_image(project / "new_photos" / f"{name}-{number}.jpg", shade, chance)
        for number in range(30 if name == "daisy" else 6):
            write_image(project / "garden" / name / f"{number:02d}.jpg", shade, chance)
    write_scans(project / "scans", chance)
    write_table(project, chance)
    write_tiles(project / "tiles", chance)


def write_image(file: Path, shade: Sequence[float], chance: np.random.Generator) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = chance.normal(shade, 30, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file)


def write_scans(folder: Path, chance: np.random.Generator) -> None:
    """Write two images of each of 16 patients, who have one finding each, and two tables of them."""
    rows = []
    for patient in range(16):
        finding = ("healthy", "ill")[patient % 2]
        for side in ("left", "right"):
            path = f"{finding}/{patient:02d}-{side}.png"
            write_image(folder / path, [90 + 80 * (patient % 2)] * 3, chance)
            rows.append((path, f"patient {patient}", finding))
    write_csv(folder / "metadata.csv", ("path", "patient"), [row[:2] for row in rows])
    write_csv(folder.with_suffix(".csv"), ("path", "patient", "finding"), rows)


def write_table(project: Path, chance: np.random.Generator) -> None:
    """Write images of one folder, and a table of them: a class, two labels and a number each."""
    rows = []
    for number in range(36):
        name = tuple(SHADES)[number % 3]
        path = f"{number:03d}.jpg"
        height = 20 + number
        light = [channel * (0.4 + height / 200) for channel in SHADES[name]]
        write_image(project / "images" / path, light, chance)
        rows.append((path, name, int(name == "rose"), int(number % 2), height))
    write_csv(project / "labels.csv", ("path", "flower", "red", "in_bloom", "height_cm"), rows)


def write_tiles(folder: Path, chance: np.random.Generator) -> None:
    for name, level in (("forest", 3000), ("water", 9000)):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            tile = chance.normal(level, 500, (13, SIDE, SIDE)).clip(0).astype(np.uint16)
            np.save(folder / name / f"{number:02d}.npy", tile)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([header, *rows])
