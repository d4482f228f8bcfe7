"""Puts the sections, in order, into the template of the page."""

from collections.abc import Sequence
from datetime import datetime
from importlib import resources

import jinja2

from widedeep import __version__
from widedeep.comparison.measured_runs import RunReport
from widedeep.report.blocks import Section
from widedeep.report.drawing import RUN_STYLES
from widedeep.report.headline import headline
from widedeep.report.names import listed
from widedeep.report.parts import crosses, slices
from widedeep.report.pictures import learning, ranking, scores
from widedeep.report.provenance import environment, recipes


def page(report: RunReport, now: datetime) -> str:
    """A self-contained HTML page. Equal reports give equal pages, except for the date."""
    made = (headline, learning, ranking, scores, slices, crosses, recipes, environment)
    sections = [section for section in (make(report) for make in made) if section is not None]
    return rendered(_title(report), _facts(report), sections, now)


def rendered(title: str, facts: Sequence[str], sections: Sequence[Section], now: datetime) -> str:
    """A self-contained HTML page of these sections; `facts` stand below its title, and the date."""
    folder = resources.files("widedeep.report")
    templates = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = templates.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        facts=facts,
        sections=sections,
        css=folder.joinpath("page.css").read_text(encoding="utf-8"),
        dashes=[" ".join(f"{2 * length:g}" for length in style.dashes) for style in RUN_STYLES],
        version=__version__,
        date=f"{now:%Y-%m-%d %H:%M} UTC",
    )


def _title(report: RunReport) -> str:
    names = dict.fromkeys(measured.finished.recipe.name for measured in report.runs)
    return listed(list(names))


def _facts(report: RunReport) -> list[str]:
    """Short facts about what was measured."""
    first = report.runs[0]
    rows = sorted({int(measured.metrics["rows"] or 0) for measured in report.runs})
    facts = [f"{report.split} rows: {' or '.join(f'{count:,}' for count in rows)}"]
    if (positives := first.metrics.get("positives")) is not None:
        facts.append(f"{100 * positives:.3g}% of them positive")
    if (groups := first.metrics.get("groups")) is not None:
        facts.append(f"in {int(groups):,} groups")
    label = first.finished.recipe.data.label
    facts.append(f"label: {label.column}" if label.kind == "binary" else f"label: {label.column}, a number")
    return facts
