"""The page of a sweep: how the best came about, what matters, all trials."""

from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from widedeep.evaluation.formulas import metric_title
from widedeep.figures import duration, figure
from widedeep.recipe.sweep_space import written
from widedeep.report.blocks import Cell, Chart, Section, Table, text
from widedeep.report.drawing import INK, QUIET, RUN_COLOURS, drawn
from widedeep.report.page import rendered
from widedeep.search.journal import EndedTrial
from widedeep.search.sweep import SweepResult


def search_page(result: SweepResult, name: str, now: datetime) -> str:
    """A self-contained HTML page about the sweep of the recipe `name`."""
    counts = {state: sum(trial.state == state for trial in result.trials) for state in ("trained", "pruned", "failed")}
    facts = [f"{number:,} trial{'s' * (number != 1)} {state}" for state, number in counts.items() if number]
    facts.append(f"chosen by the valid rows' {metric_title(result.metric)}")
    return rendered(f"Sweep of {name}", facts, [_course(result), _all(result)], now)


def _course(result: SweepResult) -> Section:
    title = metric_title(result.metric)
    charts = []
    if any(trial.value is not None for trial in result.finished):
        svg = drawn("course", f"{title} of each trial", lambda axes: _draw_course(axes, result, title))
        caption = "Dots are trained trials, crosses pruned ones at their best epoch; the line is the best so far."
        charts.append(Chart(f"{title} by trial", svg, caption))
    if result.importance:
        shares = result.importance
        svg = drawn("importance", "Importance of settings", lambda axes: _draw_importance(axes, list(shares.values())))
        names = "; ".join(f"{place}: `{setting}`" for place, setting in enumerate(shares, start=1))
        caption = f"Share in what sets the better trained trials apart (PED-ANOVA). {names}."
        charts.append(Chart("Which settings matter", svg, caption))
    best = result.best
    intro = ["No trial is trained to its end."]
    if best is not None:
        settings = ", ".join(f"{setting}: {written(value)}" for setting, value in best.settings.items())
        intro = [f"Trial {best.number} is the best, with {title} {figure(best.value)}: {settings}."]
    notes = ["The best of many trials is flattered by the rows that chose it: the test rows chose nothing."]
    return Section("course", "The search", intro=intro, charts=charts, notes=notes)


def _draw_course(axes: Axes, result: SweepResult, title: str) -> None:
    for state, marker, colour in (("trained", "o", RUN_COLOURS[0]), ("pruned", "x", QUIET)):
        shown = [trial for trial in result.finished if trial.state == state and trial.value is not None]
        values = [float("nan") if trial.value is None else trial.value for trial in shown]
        axes.plot([trial.number for trial in shown], values, marker, color=colour, markersize=5.0)
    best, line = None, []
    for trial in result.finished:
        if trial.state == "trained" and trial.value is not None:
            choose = min if result.minimize else max
            best = trial.value if best is None else choose(best, trial.value)
        line.append(float("nan") if best is None else best)
    axes.step([trial.number for trial in result.finished], line, where="post", color=INK, linewidth=1.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.04, y=0.1)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"valid {title}")


def _draw_importance(axes: Axes, shares: list[float]) -> None:
    places = range(len(shares))
    axes.barh(places, [100.0 * share for share in shares], color=RUN_COLOURS[0], height=0.6)
    axes.set_yticks(places, [str(place + 1) for place in places])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("importance, %")
    axes.set_ylabel("setting")


def _all(result: SweepResult) -> Section:
    failed = [trial for trial in result.trials if trial.state == "failed"]
    titles = [text("trial"), text("ended"), Cell(metric_title(result.metric)), Cell("epochs"), Cell("time")]
    titles += [text(setting) for setting in result.space]
    rows = [_row(trial, result) for trial in (*result.ranked, *failed)]
    caption = "Best first. Times are those of the whole training, its start included."
    return Section("trials", "All trials", tables=[Table(titles, rows, caption)])


def _row(trial: EndedTrial, result: SweepResult) -> list[Cell]:
    value = "" if trial.value is None else figure(trial.value)
    settings = [text(written(trial.settings[name]) if name in trial.settings else "") for name in result.space]
    state = text(trial.state, trial.why or "")
    return [
        text(str(trial.number)),
        state,
        Cell(value),
        Cell(str(trial.epochs)),
        Cell(duration(trial.seconds)),
        *settings,
    ]
