"""The charts of the page."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from widedeep.evaluation.comparison import Change
from widedeep.evaluation.curves import Bins, Curve, Histogram
from widedeep.report.drawing import INK, QUIET, RUN_COLOURS, RUN_STYLES, drawn

Numbers = NDArray[np.float64]

_PROBABILITIES = (
    (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999),
    (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
    tuple(place / 100 for place in range(1, 100)),
)
"""Choices of tick labels below a histogram of scores: the first with enough ticks in its range is taken."""
_ENOUGH_TICKS = 3
_STEP_TICKS = 3
"""Steps that are named below a chart by time: dates are long."""
_MARKED_STEPS = 60
"""With more steps, points have no markers: they would hide the lines."""
_LEAST_SHARE = 0.001
"""Bins at the ends of a histogram are cut off while they hold a smaller share of every class."""
_SHOWN_BINS = 40
INTERVALS_OF_RUNS = 3
"""With more runs, intervals are not drawn: they would hide each other."""
_SETTLED_RECALL = 0.03
_RARE = 0.1
_WIDE = 8.0
_FEW_POWERS = 300.0


def epochs_chart(
    name: str,
    described: str,
    label: str,
    of_valid: Sequence[Sequence[float | None]],
    of_train: Sequence[Sequence[float | None]] = (),
    best: Sequence[int] = (),
) -> str:
    """A figure of each run by epoch: full lines for valid rows, dotted for training, a ring at the best epoch."""

    def draw(axes: Axes) -> None:
        for run, (style, values) in enumerate(zip(RUN_STYLES, of_valid, strict=False)):
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, _floats(values), color=style.colour, marker=style.marker, markersize=4.0)
            if run < len(of_train):
                axes.plot(epochs, _floats(of_train[run]), color=style.colour, linestyle=(0, (1, 1.5)), marker=".")
            if run < len(best) and 0 < best[run] <= len(values) and values[best[run] - 1] is not None:
                point = [best[run]], _floats([values[best[run] - 1]])
                axes.plot(*point, "o", markersize=10.0, markerfacecolor="none", markeredgecolor=style.colour)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.06, y=0.1)
        _label(axes, "epoch", label)

    return drawn(name, described, draw)


def steps_chart(
    name: str, described: str, label: str, steps: Sequence[str], of_ways: Sequence[Sequence[Change | None]]
) -> str:
    """A figure of each way by step of time, with its 95% interval as a band."""
    places = range(len(steps))

    def draw(axes: Axes) -> None:
        for style, changes in zip(RUN_STYLES, of_ways, strict=False):
            known = [change if change is not None and math.isfinite(change.error) else None for change in changes]
            values = _floats([None if change is None else change.value for change in changes])
            low = _floats([None if change is None else change.low for change in known])
            high = _floats([None if change is None else change.high for change in known])
            marker = style.marker if len(steps) <= _MARKED_STEPS else None
            axes.plot(places, values, color=style.colour, linestyle=style.line, marker=marker, markersize=3.5)
            axes.fill_between(places, low, high, color=style.colour, alpha=0.15, linewidth=0.0)
        shown = sorted({round(place) for place in np.linspace(0, len(steps) - 1, min(_STEP_TICKS, len(steps)))})
        axes.set_xticks(shown, [steps[place] for place in shown])
        axes.margins(x=0.06, y=0.1)
        _label(axes, "step", label)

    return drawn(name, described, draw)


def _floats(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def roc_chart(described: str, curves: Sequence[Curve | None]) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1.0, linestyle=(0, (2, 2)))
        for style, curve in zip(RUN_STYLES, curves, strict=False):
            if curve is not None:
                axes.plot(curve.x, curve.y, color=style.colour, linestyle=style.line)
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        _percent(axes)
        _label(axes, "negatives ranked above the threshold", "positives found")

    return drawn("roc", described, draw)


def precision_chart(described: str, curves: Sequence[Curve | None], rate: float) -> str:
    def draw(axes: Axes) -> None:
        axes.axhline(rate, color=QUIET, linewidth=1.0, linestyle=(0, (2, 2)))
        for style, curve in zip(RUN_STYLES, curves, strict=False):
            if curve is not None:
                axes.plot(curve.x, curve.y, color=style.colour, linestyle=style.line, drawstyle="steps-pre")
        # Where positives are rare, one may be among the first few rows by chance: that must not set the scale.
        settled = [float(curve.y[curve.x >= _SETTLED_RECALL].max()) for curve in curves if curve is not None]
        axes.set(xlim=(0, 1), ylim=(0, min(1.15 * max(settled, default=1.0), 1.01)))
        _percent(axes)
        _label(axes, "positives found (recall)", "positives among those taken")

    return drawn("precision", described, draw)


def _percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def is_logarithmic(bins: Sequence[Bins], rate: float | None) -> bool:
    """Whether calibration needs logarithmic axes: positives are rare, and most bins would lie in a corner."""
    low, high = _ends([run_bins.predicted for run_bins in bins])
    return rate is not None and 0.0 < rate < _RARE and low > 0.0 and high / low > _WIDE


def _ends(values: Sequence[Numbers]) -> tuple[float, float]:
    together = np.concatenate(values)
    return float(together.min()), float(together.max())


def calibration_chart(described: str, bins: Sequence[Bins], rate: float | None) -> str:
    """Mean label by mean score, bin by bin; `rate` is the share of positives, None for a regression."""
    logarithmic = is_logarithmic(bins, rate)

    def draw(axes: Axes) -> None:
        # Bins without a positive have no place on a logarithmic axis.
        shown = [
            run_bins.observed > 0.0 if logarithmic else np.ones(len(run_bins.observed), dtype=bool) for run_bins in bins
        ]
        low, high = _ends(
            [
                ends[kept]
                for run_bins, kept in zip(bins, shown, strict=True)
                for ends in (run_bins.predicted, run_bins.observed)
            ]
        )
        if logarithmic:
            axes.set(xscale="log", yscale="log")
        axes.plot([low, high], [low, high], color=QUIET, linewidth=1.0, linestyle=(0, (2, 2)))
        for style, run_bins, kept in zip(RUN_STYLES, bins, shown, strict=False):
            x, y = run_bins.predicted[kept], run_bins.observed[kept]
            axes.plot(x, y, color=style.colour, marker=style.marker, markersize=4.0, linewidth=1.2)
            if len(bins) <= INTERVALS_OF_RUNS:
                axes.vlines(x, run_bins.low[kept], run_bins.high[kept], color=style.colour, linewidth=1.2, alpha=0.6)
        if rate is not None:
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 * value:g}%"))
                if logarithmic:
                    # Over many powers of ten, 2 and 5 between them have no room.
                    subs = (1.0, 2.0, 5.0) if high / low < _FEW_POWERS else (1.0,)
                    axis.set_major_locator(LogLocator(subs=subs))
                    axis.set_minor_locator(NullLocator())
        what = "label" if rate is None else "rate of positives"
        _label(axes, f"mean {'prediction' if rate is None else 'score'} of the bin", f"{what} seen in the bin")

    return drawn("calibration", described, draw)


def score_chart(name: str, described: str, run: int, spread: Histogram, shown: slice) -> str:
    """Histogram of the scores of positives (filled) and negatives (outline), on an axis of log-odds."""
    edges, of_positives = _merged(spread, "positive", shown)
    _, of_negatives = _merged(spread, "negative", shown)

    def draw(axes: Axes) -> None:
        axes.stairs(100 * of_positives, edges, fill=True, color=RUN_COLOURS[run], alpha=0.55)
        axes.stairs(100 * of_negatives, edges, color=INK, linewidth=1.2)
        axes.xaxis.set_major_locator(FixedLocator(_probability_ticks(edges[0], edges[-1])))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 / (1.0 + np.exp(-value)):.4g}%"))
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
        _label(axes, "score (spaced by log-odds)", "rows of the class, %")

    return drawn(name, described, draw)


def shown_bins(spreads: Sequence[Histogram]) -> slice:
    """The range of bins worth showing in one of the histograms; all of them have the same edges."""
    most = np.max([shares for spread in spreads for shares in spread.shares.values()], axis=0)
    held = np.flatnonzero(most >= _LEAST_SHARE)
    return slice(int(held[0]), int(held[-1]) + 1) if len(held) else slice(0, len(most))


def _merged(spread: Histogram, name: str, shown: slice) -> tuple[Numbers, Numbers]:
    """The shown bins, merged to about as many as fit in a chart."""
    size = max(1, -(-(shown.stop - shown.start) // _SHOWN_BINS))
    starts = np.arange(shown.start, shown.stop, size)
    edges = spread.edges[np.append(starts, min(starts[-1] + size, len(spread.edges) - 1))]
    return edges, np.add.reduceat(spread.shares[name][: min(starts[-1] + size, len(spread.edges) - 1)], starts)


def _probability_ticks(low: float, high: float) -> list[float]:
    """Log-odds of round probabilities between two log-odds."""
    for probabilities in _PROBABILITIES:
        log_odds = [float(np.log(p / (1.0 - p))) for p in probabilities]
        ticks = [tick for tick in log_odds if low <= tick <= high]
        if len(ticks) >= _ENOUGH_TICKS:
            break
    return ticks


def error_chart(described: str, spreads: Sequence[Histogram]) -> str:
    def draw(axes: Axes) -> None:
        axes.axvline(0.0, color=QUIET, linewidth=1.0, linestyle=(0, (2, 2)))
        for style, spread in zip(RUN_STYLES, spreads, strict=False):
            middle = (spread.edges[1:] + spread.edges[:-1]) / 2.0
            axes.plot(middle, 100 * spread.shares["error"], color=style.colour, linestyle=style.line)
        axes.set(ylim=(0, None))
        _label(axes, "prediction minus label", "rows, %")

    return drawn("errors", described, draw)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
