"""The sections about parts: slices of the rows (by values of columns), and crosses of the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from widedeep.comparison.measured_runs import RunReport
from widedeep.comparison.run_table import RANKED_BY
from widedeep.evaluation.by_value import ValueFigures
from widedeep.evaluation.comparison import Change
from widedeep.evaluation.formulas import metric_title
from widedeep.evaluation.slices import LEAST_ROWS
from widedeep.figures import figure
from widedeep.recipe.kinds import KINDS
from widedeep.report.blocks import Cell, Line, Scale, Section, Table, text
from widedeep.report.names import MINUS, legend, listed, name

SHOWN_VALUES = 10
"""A table shows this many values of a column, those with most rows; `--json` has all."""
_VALUE_LENGTH = 40
"""A longer value is cut."""
_SHOWN_COLUMNS = 50
"""Columns with a table of slices, in the recipe's order."""
_NAMED_COLUMNS = 10
"""Columns that a sentence names."""
_ABOUT_AUC = (
    " Within a slice the column itself no longer helps to rank, so that figures here may all lie below that of all "
    "rows."
)


# ---------------------------------------------------------------------------------------------------- slices


def slices(report: RunReport) -> Section:
    """The metric that ranks the runs, for each value of each column."""
    all_columns = list(dict.fromkeys(column for measured in report.runs for column in measured.slices))
    columns = all_columns[:_SHOWN_COLUMNS]
    if not columns:
        return Section("slices", "By slice", intro=["No categorical field has few values; `--slice` names columns."])
    metric = RANKED_BY[report.runs[0].finished.recipe.data.label.kind]
    tables = {column: _of_column(report, column, metric) for column in columns}
    too_small = [column for column, table in tables.items() if not table.rows]
    told = f" No value of {_some(too_small)} has as many." if too_small else ""
    if len(all_columns) > len(columns):
        more = len(all_columns) - len(columns)
        told += f" {more:,} more columns are left out here: --json has all, `--slice` names others."
    return Section(
        "slices",
        "By slice",
        intro=[
            f"{metric_title(metric)} of the {report.split} rows at each value of a column, with its 95% interval."
            f"{_ABOUT_AUC if metric == 'auc' else ''}"
        ],
        tables=[table for table in tables.values() if table.rows],
        legend=legend(report),
        pairs_tables=True,
        notes=[
            f"A figure needs {LEAST_ROWS} rows, and of either class and of groups as many as an interval needs.{told} "
            "With so many intervals some miss by chance: `widedeep eval RUN --against RUN2` corrects for how many were "
            "looked at."
        ],
    )


def _some(columns: Sequence[str]) -> str:
    more = len(columns) - _NAMED_COLUMNS
    return " or ".join([*columns[:_NAMED_COLUMNS], *([f"{more:,} more columns"] if more > 0 else [])])


def _of_column(report: RunReport, column: str, metric: str) -> Table:
    binary = metric == "auc"
    by_run = [{figures.value: figures for figures in measured.slices.get(column, ())} for measured in report.runs]
    values = sorted(
        {v: f for by_value in by_run for v, f in by_value.items()}.values(), key=lambda figures: -figures.rows
    )
    known = [
        figures for figures in values if any(_metric_at(by_value.get(figures.value), metric) for by_value in by_run)
    ]
    shown = known[:SHOWN_VALUES]
    scale = _scale([_metric_at(by_value.get(figures.value), metric) for figures in shown for by_value in by_run])
    rows = []
    for figures in shown:
        mean = f"{100 * figures.mean_label:.3g}% positive" if binary else f"mean {figure(figures.mean_label)}"
        lines = [_line(by_value.get(figures.value), metric, scale, run) for run, by_value in enumerate(by_run)]
        rows.append(
            [text(_value(figures.value), f"{figures.rows:,} rows, {mean}"), Cell("", lines=lines, is_number=False)]
        )
    titles = [text("value"), text(f"{metric_title(metric)}{' (at the right: calibration)' if binary else ''}")]
    left_out = [
        f"{count:,} {'value has' if count == 1 else 'values have'} {why}"
        for count, why in (
            (len(known) - len(shown), "fewer rows"),
            (len(values) - len(known), "too few rows for a figure"),
        )
        if count
    ]
    ends = f"The scale goes from {figure(scale.low)} to {figure(scale.high)}"
    return Table(titles, rows, f"{'; '.join([ends, *left_out])}.", title=column)


def _value(value: str | None) -> str:
    if value is None:
        return "(missing)"
    return value if len(value) <= _VALUE_LENGTH else f"{value[: _VALUE_LENGTH - 1]}…"


def _metric_at(figures: ValueFigures | None, metric: str) -> Change | None:
    return None if figures is None else figures.metrics.get(metric)


def _scale(changes: Sequence[Change | None]) -> Scale:
    known = [change for change in changes if change is not None]
    return Scale(
        min((change.low for change in known), default=0.0), max((change.high for change in known), default=1.0)
    )


def _line(figures: ValueFigures | None, metric: str, scale: Scale, run: int) -> Line:
    change, ratio = _metric_at(figures, metric), _metric_at(figures, "calibration")
    if change is None:
        return Line("", "–", "", run)
    aside = "" if ratio is None else f"{ratio.value:.2f}"
    return Line(
        "", figure(change.value), f"±{change.high - change.value:.4f}", run, scale.interval(*change.interval), aside
    )


# --------------------------------------------------------------------------------------------------- crosses


def crosses(report: RunReport) -> Section:
    """The promised and realised gains of every run's crosses, side by side."""
    tables = [_gains(report, run) for run in range(len(report.runs)) if report.runs[run].finished.facts.get("crosses")]
    without = [
        _why_none(report, run) for run in range(len(report.runs)) if not report.runs[run].finished.facts.get("crosses")
    ]
    intro = []
    if tables:
        intro.append(
            "Gain: fall of the loss, in thousandths, as the cross is switched on, on top of the crosses above it; in "
            "grey as `widedeep crosses --discover` promised it on train rows that took no part in the choice, in "
            "colour as the finished model realises it on rows that were held out. Bars are 95% intervals, of rows "
            "taken as independent."
        )
    return Section("crosses", "Crosses", intro=[*intro, *without], tables=tables, pairs_tables=True)


def _gains(report: RunReport, run: int) -> Table:
    measured = report.runs[run]
    gains: Mapping[str, Any] = measured.finished.facts["crosses"]
    ends = [end for cross in gains["crosses"] for part in ("promised", "realised") for end in cross[part][1:]]
    scale = Scale(min(0.0, *ends), max(0.0, *ends))
    rows = []
    for cross in gains["crosses"]:
        lines = [_gain("promised", cross["promised"], scale, None), _gain("realised", cross["realised"], scale, run)]
        rows.append([text(" × ".join(cross["columns"])), Cell("", lines=lines, is_number=False)])
    if len(rows) > 1:
        together = gains["all"]
        lines = [
            Line("promised", _thousandths(together["promised"]), "", None),
            _gain("realised", together["realised"], None, run),
        ]
        rows.append([text("all of them"), Cell("", lines=lines, is_number=False)])
    held_out = "test" if "test" in measured.finished.facts["metrics"] else "valid"
    title = name(report, run) if len(report.runs) > 1 else ""
    caption = (
        f"Realised on the {held_out} rows at the end of training. The scale goes from {_thousandths(scale.low)} to "
        f"{_thousandths(scale.high)}."
    )
    return Table([text("cross"), text("gain, thousandths")], rows, caption, title=title)


def _gain(label: str, interval: Sequence[float], scale: Scale | None, run: int | None) -> Line:
    value, low, high = interval
    drawn = None if scale is None else scale.interval(value, low, high)
    return Line(label, _thousandths(value), f"{_thousandths(low)} to {_thousandths(high)}", run, drawn)


def _thousandths(value: float) -> str:
    return f"{1000.0 * value:.3g}".replace("-", MINUS)


def _why_none(report: RunReport, run: int) -> str:
    recipe = report.runs[run].finished.recipe
    who = f"{name(report, run)}: " if len(report.runs) > 1 else ""
    crossed = listed([" × ".join(cross.fields) for cross in recipe.crosses])
    if not KINDS[recipe.model.kind].has_wide(crosses=True):
        return f"{who}a model of kind {recipe.model.kind} takes no crosses."
    if not recipe.crosses:
        return f"{who}the recipe has no crosses; `widedeep crosses RECIPE --discover --write` looks for some."
    return (
        f"{who}no gain was promised of {crossed}, which the recipe lists; `widedeep crosses RECIPE --discover --write` "
        "finds crosses and says what they should gain."
    )
