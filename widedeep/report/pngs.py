"""The charts of a page as pictures that stand alone, for what shows no SVG."""

import re
from importlib import resources

from widedeep.comparison.measured_runs import RunReport
from widedeep.report.drawing import keeping_figures, png
from widedeep.report.pictures import learning, ranking, scores

_VARIABLE = re.compile(r"(--[\w-]+): (#[0-9a-f]{6})")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


def pngs(report: RunReport) -> dict[str, bytes]:
    """Name → PNG of the charts on learning, ranking and scores, in the light colours of the page."""
    css = resources.files("widedeep.report").joinpath("page.css").read_text(encoding="utf-8")
    colours = dict(_VARIABLE.findall(css[: css.index("@media")]))
    with keeping_figures() as figures:
        sections = [section for section in (learning(report), ranking(report), scores(report)) if section is not None]
    return {
        _name(chart.title): png(figures[chart.svg], chart.title, [line.text for line in chart.legend], colours)
        for section in sections
        for chart in section.charts
    }


def _name(title: str) -> str:
    return _NOT_IN_NAMES.sub("-", title.partition(":")[0].lower()).strip("-")
