"""The charts of a report: labels of ticks never touch, whatever the range of the data."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from widedeep.evaluation.curves import Bins, Histogram
from widedeep.report import charts, drawing


def touching(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of neighbouring labels whose boxes overlap."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    pairs = []
    for axis, side in ((figure.axes[0].xaxis, 0), (figure.axes[0].yaxis, 1)):
        labels = [label for label in axis.get_ticklabels() if label.get_text()]
        boxes = sorted((label.get_window_extent().get_points()[:, side].tolist(), label.get_text()) for label in labels)
        assert len(boxes) >= 2, "an axis needs two labels to be read"
        pairs += [(a[1], b[1]) for a, b in pairwise(boxes) if a[0][1] >= b[0][0]]
    return pairs


def bins(low: float, high: float) -> Bins:
    scores = np.geomspace(low, high, 20)
    return Bins(scores, scores * 1.1, scores * 0.8, scores * 1.4)


def scores(low: float, high: float) -> Histogram:
    edges = np.linspace(np.log(low / (1 - low)), np.log(high / (1 - high)), 41)
    shares = np.full(40, 1 / 40)
    return Histogram(edges, {"positive": shares, "negative": shares})


RANGES = [(1e-5, 0.3), (1e-4, 0.5), (0.001, 0.02), (0.003, 0.2), (0.01, 0.12), (0.02, 0.98), (0.4, 0.6), (0.1, 0.9)]
CHARTS: dict[str, Callable[[float, float], str]] = {
    "calibration of rare clicks": lambda low, high: charts.calibration_chart("", [bins(low, high)], 0.02),
    "calibration": lambda low, high: charts.calibration_chart("", [bins(low, high)], 0.4),
    "calibration of numbers": lambda low, high: charts.calibration_chart("", [bins(1e5 * low, 1e7 * high)], None),
    "scores": lambda low, high: charts.score_chart("scores", "", 0, scores(low, high), slice(0, 40)),
}


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("between", RANGES, ids=str)
def test_labels_of_ticks_never_touch(chart: str, between: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    as_svg = drawing._svg
    monkeypatch.setattr(drawing, "_svg", lambda figure, *texts: figures.append(figure) or as_svg(figure, *texts))

    CHARTS[chart](*between)

    assert touching(figures[0]) == []
