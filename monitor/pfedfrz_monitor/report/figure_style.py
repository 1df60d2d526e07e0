"""What all PNG plots have in common, and how one becomes a file."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .palette import LIGHT

__all__ = ["FIGURE_STYLE", "png"]

# Any: the names that matplotlib's stubs accept differ from release to release.
FIGURE_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": LIGHT.line,
    "axes.labelcolor": LIGHT.faint,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": LIGHT.text,
    "xtick.color": LIGHT.faint,
    "ytick.color": LIGHT.faint,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
_DPI = 160


def png(figure: Figure) -> bytes:
    """The file's content."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    # No software version in the file: the same run gives the same bytes.
    figure.savefig(content, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return content.getvalue()
