"""Draws progress, notes and epochs on stderr, and tables on stdout. The only module that uses Rich."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from widedeep.figures import duration, figure, gain_cell, rate, visible, visible_message
from widedeep.reporting import Meter, Reporter

from .boundary import wrapped
from .results import open_stdout

if TYPE_CHECKING:
    from .epoch_cells import EpochTable

_WARNING = "widedeep: warning: "
_GAP = "  "
_NAME_WIDTH = 20
"""A longer column name is wrapped."""
_LEAST_VALUES_WIDTH = 8


class _PipeAwareConsole(Console):
    """A console that passes a broken pipe on to the error boundary, where Rich would exit with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(stream: IO[str] | None) -> Console:
    is_terminal = stream is not None and stream.isatty()
    # Set explicitly: Rich would take FORCE_COLOR for a terminal and draw bars into a log file.
    return _PipeAwareConsole(
        file=stream if stream is not None else open(os.devnull, "w"),
        force_terminal=is_terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


# ------------------------------------------------------------------------------------------- what is under way


class ConsoleReporter(Reporter):
    """Writes notes, warnings and epochs to stderr. Only a terminal gets a live line, and epochs as a table.

    With `quiet`, only warnings are written. A note that is the same for several parts of the work is written once.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = _console(sys.stderr)
        self._quiet = quiet
        self._draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._progress: Progress | None = None
        self._epochs: EpochTable | None = None
        self._noted: set[str] = set()

    def note(self, message: str) -> None:
        if self._quiet or message in self._noted:
            return
        self._noted.add(message)
        self._say(message)

    def part(self, name: str, number: int, of: int) -> None:
        if not self._quiet and of > 1:
            self._say(f"{name} ({number} of {of})")

    def _say(self, message: str) -> None:
        self._console.print(wrapped(f"widedeep: {visible_message(message)}", sys.stderr), soft_wrap=True)

    def warn(self, message: str) -> None:
        text = Text(wrapped(f"{_WARNING}{visible_message(message)}", sys.stderr))
        text.stylize("yellow", 0, len(_WARNING))
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[Meter]:
        if self._quiet or not self._draws:
            yield Meter()
            return
        if self._progress is None:
            self._progress = _live_line(self._console)
            self._progress.start()
        progress = self._progress
        task = progress.add_task(visible(title), total=total, unit=unit, figures={}, how="")
        try:
            yield _BarMeter(progress, task)
        finally:
            progress.remove_task(task)
            if not progress.tasks:
                progress.stop()
                self._progress = None

    def epoch(self, figures: Mapping[str, float | int | str | None]) -> None:
        if self._quiet:
            return
        from .epoch_cells import EpochTable, epoch_line  # not at the top: `--help` should not wait for NumPy

        if not self._draws:
            self._console.print(epoch_line(figures), soft_wrap=True)
            return
        if self._epochs is None or not self._epochs.continues_with(figures):
            self._epochs = EpochTable(figures, self._console.width)
            self._console.print(self._epochs.header(), style="bold", soft_wrap=True)
        is_best = bool(figures.get("best"))
        self._console.print(self._epochs.row(figures), style="green" if is_best else None, soft_wrap=True)


class _BarMeter(Meter):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: float, **figures: float) -> None:
        self._progress.update(self._task, completed=done, figures=figures)

    def expect(self, total: float, how: Literal["at most", "likely"]) -> None:
        self._progress.update(self._task, total=total, how=f"{how} ")


class _RateColumn(ProgressColumn):
    """Shows the speed in the work's unit, then the time left."""

    def render(self, task: Task) -> Text:
        speed = task.fields["figures"].get("rows_per_second", task.speed)
        parts = [] if speed is None else [rate(speed, task.fields["unit"])]
        if task.time_remaining is not None:
            parts.append(f"{task.fields['how']}{duration(task.time_remaining)} left")
        return Text(_GAP.join(parts))


class _FiguresColumn(ProgressColumn):
    """Shows the figures of the last update, such as the loss."""

    def render(self, task: Task) -> Text:
        figures = {name: value for name, value in task.fields["figures"].items() if name != "rows_per_second"}
        return Text(_GAP.join(f"{name.replace('_', ' ')} {figure(value)}" for name, value in figures.items()))


def _live_line(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        _RateColumn(table_column=Column(no_wrap=True)),
        _FiguresColumn(table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


# ------------------------------------------------------------------------------------------------------- tables


def print_metrics(splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row per metric and a column per split; a cell is a number, or a mean with its deviation over seeds."""
    from widedeep.evaluation import metric_title

    table = _table("metric", *splits, right=range(1, len(splits) + 1))
    for name in dict.fromkeys(name for metrics in splits.values() for name in metrics):
        table.add_row(metric_title(name), *(_metric_cell(metrics.get(name)) for metrics in splits.values()))
    _print(table)


def _metric_cell(value: Any) -> str:
    if isinstance(value, Mapping):
        mean, deviation = value["mean"], value["deviation"]
        if float(mean).is_integer() and deviation == 0.0:
            return figure(int(mean))  # a count that every seed shares
        return f"{figure(mean)} ± {deviation:.2g}"
    return figure(value)


def print_slices(slices: Sequence[Mapping[str, str]]) -> None:
    """Print a row per slice in which one of two models is worse, and below the table what the figures mean."""
    if not slices:
        return
    console = _console(open_stdout())
    console.print()
    console.print(_figures(slices, name=0))
    console.print(
        "difference of the mean loss of the slice's rows; the intervals hold together,\n"
        "with 95%, for all slices that were looked at",
        style="dim",
    )


def print_comparison(lines: Sequence[Mapping[str, str]]) -> None:
    """Print a row per metric, run or model: its name, then its figures."""
    _print(_figures(lines, name=0))


def print_runs(lines: Sequence[Mapping[str, str]]) -> None:
    """Print a row per run; what is said of it, in the last column, takes as many lines as it needs."""
    if not lines:
        return
    *titles, _ = lines[0]
    table = _table(*lines[0], right=range(1, len(titles)))
    for column in table.columns[:-1]:
        column.no_wrap = True
    for line in lines:
        table.add_row(*map(visible, line.values()))
    _print(table)


def print_columns(columns: Sequence[Mapping[str, Any]], num_rows: int) -> None:
    """Print a line per column of an `ingest` report over `num_rows` rows; values are cut where the line ends.

    Of more than a hundred columns, those that are no fields (the label, say), then those that say most of the label.
    """
    from .profile_cells import columns_shown, profile_cells  # not at the top: most commands have no use for it

    profiled = [column for column in columns if "type" in column]
    shown = columns_shown(profiled)
    records = [profile_cells(column, num_rows) for column in shown]
    records = [{title: visible(text) for title, text in record.items()} for record in records]
    *titles, last = records[0]
    console = _console(open_stdout())
    table = _table(*titles, right=range(2, len(titles)))
    table.columns[0].max_width = _NAME_WIDTH
    names = max(min(cell_len(record[titles[0]]), _NAME_WIDTH) for record in records)
    widths = [max(cell_len(text) for text in (title, *(r[title] for r in records))) for title in titles[1:]]
    left = console.width - max(names, len(titles[0])) - sum(widths) - len(_GAP) * len(titles)
    for column in table.columns[1:]:
        column.no_wrap = True
    table.add_column(last, no_wrap=True, overflow="ellipsis", width=max(left, _LEAST_VALUES_WIDTH))
    for record in records:
        table.add_row(*record.values())
    console.print(table)
    if len(shown) < len(profiled):
        ranked = "" if all(record["alone"] == "–" for record in records) else "these say most of the label alone; "
        console.print(f"and {len(profiled) - len(shown):,} more columns: {ranked}--json has all", style="dim")


def print_crosses(crosses: Sequence[Mapping[str, Any]]) -> None:
    """Print a row per cross, its fields joined by ` x `."""
    _print_records([{**cross, "columns": " x ".join(cross["columns"])} for cross in crosses])


def print_weights(weights: Sequence[Mapping[str, str]]) -> None:
    """Print a row per weight: its figures, then the value or combination, on as many lines as it needs."""
    if not weights:
        return
    _print(_figures(weights, name=len(weights[0]) - 1))


def print_discovery(crosses: Sequence[Mapping[str, str]], *, loss: str) -> None:
    """Print a row per cross, its name on as many lines as it needs, and below the table what the figures mean."""
    if not crosses:
        return
    console = _console(open_stdout())
    console.print(_figures(crosses, name=0))
    console.print(
        f"support: rows whose combination was seen before; gain, AUC: fall of the {loss}\n"
        "and rise of the AUC in thousandths, ± for 95%, on top of the crosses above;\n"
        "q: false discovery rate at which the cross would just be kept",
        style="dim",
    )


def print_gains(gains: Mapping[str, Any], split: str) -> None:
    """Print the promised and realised gain of each cross, side by side, and of all together."""
    table = _table("cross", "promised", "realised", right=(1, 2))
    for cross in gains["crosses"]:
        table.add_row(
            visible(" x ".join(cross["columns"])), gain_cell(*cross["promised"][:2]), gain_cell(*cross["realised"][:2])
        )
    if len(gains["crosses"]) > 1:
        together = gains["all"]
        table.add_row("all of them", gain_cell(together["promised"]), gain_cell(*together["realised"][:2]))
    console = _console(open_stdout())
    console.print()
    console.print(table)
    console.print(
        "fall of the loss in thousandths, ± for 95% of independent rows, on top of the\ncrosses above; "
        f"realised: on the {split} rows, as this model's crosses are switched on",
        style="dim",
    )


def print_collisions(collisions: Sequence[Mapping[str, Any]], *, apart: bool) -> None:
    """Print a row per hashed field and cross; for those over the limit also the values of the buckets with most rows.

    `apart` leaves an empty line above, for use after another table.
    """
    from widedeep.features.collisions import COLLISION_LIMIT  # not at the top: `--help` should not wait for Polars

    from .collision_cells import collision_cells, worst_lines

    console = _console(open_stdout())
    if apart:
        console.print()
    console.print(_figures([collision_cells(entry) for entry in collisions], name=0))
    console.print(
        f"collided: values that share a bucket (expected of a uniform hash); traffic: the\n"
        f"share of train values in such buckets; enough: buckets that keep it below {COLLISION_LIMIT:.0%}",
        style="dim",
    )
    for entry in collisions:
        if entry["collided_traffic"] >= COLLISION_LIMIT:
            console.print(f"\nmost traffic in shared buckets of {visible(entry['name'])}:", soft_wrap=True)
            for line in worst_lines(entry):
                console.print(f"  {visible(line)}", no_wrap=True, overflow="ellipsis")


def _print_records(records: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        return
    numeric = {name for name in names if not any(isinstance(record.get(name), str) for record in records)}
    table = _table(*(name.replace("_", " ") for name in names), right=[i for i, n in enumerate(names) if n in numeric])
    for record in records:
        table.add_row(*(visible(figure(record.get(name))) for name in names))
    _print(table)


def _figures(records: Sequence[Mapping[str, str]], *, name: int) -> Table:
    """A table of figures, each on one line, with a name in column `name` that takes as many lines as it needs."""
    table = _table(*records[0], right=[place for place in range(len(records[0])) if place != name])
    for place, column in enumerate(table.columns):
        column.no_wrap = place != name
    for record in records:
        table.add_row(*map(visible, record.values()))
    return table


def _table(*titles: str, right: Sequence[int] | range) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for position, title in enumerate(titles):
        table.add_column(visible(title), justify="right" if position in right else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    _console(open_stdout()).print(table)
