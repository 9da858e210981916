"""Puts figures into the page: as SVG text that takes the page's colour, so that both modes can be read."""

import re
from collections.abc import Callable
from html import escape
from io import StringIO

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

# Stands for the colour of the page's text: a figure cannot know whether the page is light or dark.
INK = "#010203"
STYLE: dict[str, object] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # A class may be called `$5`.
    "xtick.color": INK,
    "ytick.color": INK,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def inline_svg(draw: Callable[[], Figure], description: str) -> Markup:
    """Return the drawn figure as an SVG element, as wide as its place allows; `description` is read aloud."""
    # The salt keeps the names inside of two figures on a page apart.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": description}):  # type: ignore[arg-type]
        figure = draw()
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)  # HTML knows them.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # It would hold for the whole page.
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', svg)
    assert size is not None
    shown = f'role="img" aria-label="{escape(description)}" style="width:100%;max-width:{size[1]}pt"'
    return Markup(svg.replace(size[0], shown, 1).replace(INK, "currentColor"))
