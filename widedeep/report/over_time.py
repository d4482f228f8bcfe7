"""The page of a backtest: how good each way of keeping a model up to date was, step by step and in all."""

from datetime import datetime

from widedeep.comparison.backtest import Backtest, Way
from widedeep.evaluation.comparison import Change
from widedeep.evaluation.formulas import metric_title
from widedeep.evaluation.verdict import holds_for, verdict
from widedeep.figures import duration, figure
from widedeep.report.blocks import Cell, Chart, Legend, Section, Table, text
from widedeep.report.charts import steps_chart
from widedeep.report.headline import MEANING
from widedeep.report.names import change_cell
from widedeep.report.page import rendered

_WAYS: dict[Way, str] = {
    "frozen": "frozen: the first model scores all steps",
    "cold": "cold: before each step a fresh model of all rows so far",
    "warm": "warm: goes on from the model before, on the rows that came since",
}
_SMALL_SCALE = {"log_loss": "log loss, nats a row", "rmse": "RMSE, in the label's units"}


def over_time(result: Backtest, name: str, now: datetime) -> str:
    """A self-contained HTML page about the backtest of the recipe `name`."""
    scored = sum(step.rows for step in result.steps)
    facts = [f"{len(result.steps):,} steps with {scored:,} rows", f"first model: {result.first_rows:,} rows"]
    if result.unlearnt:
        facts.append(f"steps not learnt from alone: {result.unlearnt:,}")
    return rendered(f"Backtest of {name}", facts, [_in_all(result), _charts(result), _by_step(result)], now)


def _in_all(result: Backtest) -> Section:
    titles = [Cell(metric_title(metric)) for metric in result.metrics]
    rows = [
        [_way_cell(result, way), *_cells(result, changes), Cell(duration(result.seconds[way]))]
        for way, changes in result.overall.items()
    ]
    caption = "Of the rows of all steps together, each scored before it was learnt from. Below: 95% intervals."
    tables = [Table([text("way"), *titles, Cell("trainings")], rows, caption, stacks=True)]
    if result.differences:
        compared = [metric for metric in result.metrics if any(metric in c for c in result.differences.values())]
        differences = [
            [text(f"{one} minus {other}"), *(change_cell(changes.get(metric), signed=True) for metric in compared)]
            for (one, other), changes in result.differences.items()
        ]
        caption = "Paired row by row. An interval that holds 0 tells no difference."
        titles = [text("ways"), *(Cell(metric_title(metric)) for metric in compared)]
        tables.append(Table(titles, differences, caption, title="Differences", stacks=True))
    told = [
        f"{sentence[0].upper()}{sentence[1:]}."
        for ways, changes in result.differences.items()
        for metric, change in changes.items()
        for sentence in [verdict(metric, change, *ways)]
    ]
    meaning = "; ".join(MEANING[metric] for metric in result.metrics)
    notes = [f"{meaning}.", f"{holds_for(grouped=result.grouped)}."]
    return Section("all", "All steps", intro=told, tables=tables, notes=notes)


def _charts(result: Backtest) -> Section:
    names = [result.step_name(step) for step in result.steps]
    legend = [Legend(_WAYS[way], run) for run, way in enumerate(result.overall)]
    drawn = []
    for metric in result.metrics:
        title = f"{metric_title(metric)} by step"
        of_ways = [[step.figures[way].get(metric) for step in result.steps] for way in result.overall]
        label = _SMALL_SCALE.get(metric, metric_title(metric))
        svg = steps_chart(metric.replace("_", "-"), title, label, names, of_ways)
        drawn.append(Chart(title, svg, "Bands are 95% intervals of the step's rows.", legend))
    return Section("steps", "Step by step", charts=drawn)


def _by_step(result: Backtest) -> Section:
    ways = [_way_cell(result, way) for way in result.overall]
    tables = []
    for metric in result.metrics:
        rows = [
            [
                text(result.step_name(step)),
                Cell(f"{step.rows:,}"),
                Cell(figure(step.mean)),
                *(change_cell(step.figures[way].get(metric)) for way in result.overall),
            ]
            for step in result.steps
        ]
        titles = [text("step"), Cell("rows"), Cell("label's mean"), *ways]
        tables.append(Table(titles, rows, title=metric_title(metric)))
    return Section("figures", "Figures by step", tables=tables)


def _way_cell(result: Backtest, way: Way) -> Cell:
    return Cell(way, run=list(result.overall).index(way), is_number=False)


def _cells(result: Backtest, changes: dict[str, Change]) -> list[Cell]:
    return [change_cell(changes.get(metric)) for metric in result.metrics]
