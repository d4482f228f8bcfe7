"""The look of all charts: Matplotlib draws SVG with the page's colours, so that it follows dark mode and print."""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgba, to_rgba_array
from matplotlib.figure import Figure

SIZE_INCHES = 4.7, 3.3
"""Width in inches. At 72 units an inch, about a phone's screen in CSS pixels: there, text is shown at its real size."""
TEXT_POINTS = 10.5
_PNG_DPI = 144
_LABEL_GAP = 0.6
"""Least gap between two labels side by side, in heights of a letter: fonts of other pages may be a little wider."""

_COLOURS = {
    "#000001": "var(--ink)",
    "#000002": "var(--quiet)",
    "#000003": "var(--line)",
    **{f"#00010{number}": f"var(--run-{number})" for number in range(1, 9)},
}
"""Placeholder colours, which are replaced by variables of the page."""
INK, QUIET, LINE, *RUN_COLOURS = _COLOURS

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT_POINTS,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "figure.figsize": SIZE_INCHES,
    "font.size": TEXT_POINTS,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "widedeep",
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": TEXT_POINTS - 0.5,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": TEXT_POINTS - 0.5,
}


@dataclass(frozen=True)
class RunStyle:
    """How a run is drawn in all charts: by colour, and by dashes and markers for those who cannot tell colours."""

    colour: str
    dashes: tuple[float, ...]
    """Lengths of dashes and gaps, in line widths; empty for a full line."""
    marker: str

    @property
    def line(self) -> tuple[float, tuple[float, ...]] | str:
        """As Matplotlib takes it."""
        return (0.0, self.dashes) if self.dashes else "-"


_DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 1.5),
    (1.5, 1.2),
    (6, 1.5, 1.5, 1.5),
    (),
    (5, 1.5),
    (1.5, 1.2),
    (6, 1.5),
)
_MARKERS = "osD^vPX*"
RUN_STYLES = tuple(map(RunStyle, RUN_COLOURS, _DASHES, _MARKERS))


_kept: ContextVar[dict[str, Figure] | None] = ContextVar("kept figures", default=None)


@contextmanager
def keeping_figures() -> Iterator[dict[str, Figure]]:
    """Fills a dictionary with the figure of each chart that is drawn meanwhile, by the chart's SVG."""
    figures: dict[str, Figure] = {}
    token = _kept.set(figures)
    try:
        yield figures
    finally:
        _kept.reset(token)


def drawn(name: str, described: str, draw: Callable[[Axes], None]) -> str:
    """The SVG of a chart, for use inside HTML.

    `name` keeps its ids different from those of the other charts. Screen readers read `described` in its place.
    """
    # Not pyplot, which keeps figures for a screen. The user's matplotlibrc must not change the page.
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        _keep_labels_apart(figure, axes)
        svg = _svg(figure, name, described)
        if (kept := _kept.get()) is not None:
            kept[svg] = figure
        return svg


def png(figure: Figure, title: str, legend: Sequence[str], colours: Mapping[str, str]) -> bytes:
    """A kept figure as PNG, twice as large as on the page, with its title and a legend.

    `colours` names the colour of each of the page's variables, such as `--ink`. The same figure gives the same bytes.
    """
    real = {placeholder: colours[variable[4:-1]] for placeholder, variable in _COLOURS.items()}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        for artist in figure.findobj():
            for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
                _recolour(artist, part, real)
        figure.set_dpi(_PNG_DPI)
        figure.set_facecolor(colours["--paper"])
        figure.suptitle(title, fontsize=TEXT_POINTS, color=colours["--ink"], wrap=True)
        figure.supxlabel("; ".join(legend), fontsize=TEXT_POINTS - 2.5, color=colours["--quiet"], wrap=True)
        file = io.BytesIO()
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})  # type: ignore[no-untyped-call]
        return file.getvalue()


def _recolour(artist: Artist, part: str, real: Mapping[str, str]) -> None:
    """Give a part of a drawing the real colour in place of a placeholder, as opaque as it was."""
    read, write = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
    if read is None or write is None:
        return
    values = to_rgba_array(read())
    new = [(*to_rgba(real[to_hex(value)])[:3], value[3]) if to_hex(value) in real else tuple(value) for value in values]
    if any(to_hex(value) in real for value in values):
        write(new if len(new) > 1 else new[0])


def _keep_labels_apart(figure: Figure, axes: Axes) -> None:
    """Leave out the labels of ticks that would touch the one before them, as the place of ticks depends on the data."""
    FigureCanvasAgg(figure)  # knows the size of a text
    figure.draw_without_rendering()
    for axis, is_x in ((axes.xaxis, True), (axes.yaxis, False)):
        low, high = sorted(axis.get_view_interval())
        places, texts, end = [], [], -math.inf
        for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True):
            if not low <= place <= high:
                continue
            box = label.get_window_extent()
            first, last = (box.x0, box.x1) if is_x else (box.y0, box.y1)
            fits = bool(label.get_text()) and first >= end + _LABEL_GAP * (box.height if is_x else 0.0)
            places.append(place)
            texts.append(label.get_text() if fits else "")
            end = last if fits else end
        axis.set_ticks(places, labels=texts)


def _svg(figure: Figure, name: str, described: str) -> str:
    file = io.StringIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})  # type: ignore[no-untyped-call]
    text = file.getvalue()
    # SVG inside HTML has no XML declaration; it has no size either, since the page sets the width.
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', _opening(described), text, count=1)
    used = set(re.findall(r'(?:#|url\(#)([\w.-]+)[")]', text))
    text = re.sub(r' id="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)([\w.-]+)', rf"\g<1>{name}-\g<2>", text).replace("xlink:href", "href")
    for stands_for, variable in _COLOURS.items():
        text = text.replace(stands_for, variable)
    # The page's font is used, and the style sheet is dropped: inside HTML it would apply to the whole page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    return re.sub(r"font-family: [^;\"]*; ", "", text).strip()


def _opening(described: str) -> str:
    return rf'<svg viewBox="\1" role="img" aria-label="{escape(described)}">'
