"""The style of all figures: colours, fonts, titles, labels."""

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dogbreed.core.text import pluralize

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/: distinguishable with any colour vision
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#999999"
STYLE: dict[Any, Any] = {  # matplotlib types the keys as a Literal of 300 names
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",  # comes with matplotlib and has ✓ and ✗, which a system font may not have
    "text.parse_math": False,  # "$" in a class name is not a formula
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
}


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure (inches) whose title stays about 8 px high in a 300 px thumbnail, if it fits."""
    figure = Figure(figsize=(width, height), layout="constrained")
    thumbnail = 8 / 300 * 72 * max(width, height)
    fitting = width * 72 / (0.65 * len(title))  # a letter of DejaVu Sans is 0.6 em wide, on average
    figure.suptitle(title, fontsize=min(thumbnail, fitting))
    return figure


def rasterize(figure: Figure) -> Image.Image:
    """Return a figure as an image of its size in inches times its dots per inch."""
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def truncate(name: str, letters: int = 30) -> str:
    """Return a name that fits beside a bar: the longest of the 120 classes of Stanford Dogs has 30 letters."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def count_classes(classes: int, empty: int) -> str:
    """Return `4 classes`, or `4 classes (2 without images)`."""
    return pluralize(classes, "class") + (f" ({empty:,} without images)" if empty else "")
