"""Pictures in rows, each with a title."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

COLUMNS = 4
SIDE = 2.0  # inches of a picture
LONGEST = 26  # letters of a title's line
RIGHT, WRONG = "black", "#D55E00"  # vermilion of Okabe & Ito


def picture_grid(pictures: Tensor, titles: Sequence[str], is_wrong: Sequence[bool]) -> Figure:
    """Return RGB pictures `[N, 3, H, W]`, 0 to 1, under their titles; those that are wrong in a frame."""
    rows = -(-len(pictures) // COLUMNS)
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    height = rows * (SIDE + 0.22 * lines)
    figure = Figure(figsize=(COLUMNS * SIDE, height), dpi=100, layout="constrained")
    for number, (picture, title, wrong) in enumerate(zip(pictures, titles, is_wrong, strict=True)):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        axes.imshow(picture.permute(1, 2, 0).numpy())
        axes.set(xticks=[], yticks=[])
        colour = WRONG if wrong else RIGHT
        shown = "\n".join(line[:LONGEST] for line in title.split("\n"))
        axes.set_title(shown, fontsize=9, color=colour, parse_math=False)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=3 if wrong else 0.5)
    return figure
