"""Images in rows, each with a title."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

COLUMNS = 2  # TensorBoard shows a figure 340 pixels wide until it is clicked: more could not be read
SIDE = 1.8  # inches of an image ...
GAP = 0.12  # ... between images ...
LINE = 0.25  # ... and of a title's line
FONT = 13  # points
LONGEST = 20  # letters of a title's line
RIGHT, WRONG = "black", "#D55E00"  # vermilion of Okabe & Ito


def image_grid(images: Tensor, titles: Sequence[str], is_wrong: Sequence[bool]) -> Figure:
    """Return RGB images `[N, 3, H, W]`, 0 to 1, under their titles; those that are wrong in a frame."""
    rows = -(-len(images) // COLUMNS)
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    cell = GAP + SIDE, LINE * lines + GAP + SIDE  # inches
    width, height = COLUMNS * cell[0] + GAP, rows * cell[1] + GAP
    figure = Figure(figsize=(width, height), dpi=100)
    for number, (image, title, wrong) in enumerate(zip(images, titles, is_wrong, strict=True)):
        row, column = divmod(number, COLUMNS)
        left, bottom = GAP + column * cell[0], height - (row + 1) * cell[1]
        # A place for each by hand: matplotlib's layouts take longer than the drawing.
        axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set(xticks=[], yticks=[])
        colour = WRONG if wrong else RIGHT
        shown = "\n".join(line[:LONGEST] for line in title.split("\n"))
        axes.set_title(shown, fontsize=FONT, color=colour, parse_math=False)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=3 if wrong else 0.5)
    return figure
