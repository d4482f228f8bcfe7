"""What an epoch of training looks like: a row of a table that grows on a terminal, a line in a log file."""

from collections.abc import Mapping

from widedeep.evaluation import metric_title
from widedeep.figures import figure

_EPOCH_TITLES = {
    "epoch": "epoch",
    "train_loss": "train loss",
    "rows_per_second": "rows/s",
    "scale": "lr x",
    "best": "best",
}
"""The columns that a row of an epoch always has; in between stand as many valid metrics as fit."""
_FIRST_METRICS = ("auc", "log_loss", "calibration", "rmse", "mae", "r2")
"""The valid metrics shown first, after the one that chooses the best epoch; a line in a pipe has only these."""

_COLUMN_WIDTH = 7
_GAP = "  "


class EpochTable:
    """The columns of a table whose rows come one by one; the first row's figures decide them."""

    def __init__(self, first: Mapping[str, object], width: int) -> None:
        metrics = _ordered_metrics(first)
        *before, rows_per_second, scale, best = _EPOCH_TITLES
        while True:
            names = [name for name in (*before, *metrics, rows_per_second, scale, best) if name in first]
            self._titles = {name: _EPOCH_TITLES.get(name) or metric_title(name) for name in names}
            if not metrics or _line_width(self._titles) <= width:
                break
            metrics.pop()
        self._last_epoch = 0

    def continues_with(self, figures: Mapping[str, float | int | str | None]) -> bool:
        """Whether this epoch follows the last one. The first epoch of another seed starts a new table."""
        return int(figures.get("epoch") or 0) > self._last_epoch

    def header(self) -> str:
        """The titles, each as wide as its column."""
        return _GAP.join(title.rjust(_column_width(title)) for title in self._titles.values())

    def row(self, figures: Mapping[str, float | int | str | None]) -> str:
        """The figures of an epoch below the titles."""
        self._last_epoch = int(figures.get("epoch") or 0)
        cells = {name: _epoch_cell(name, figures.get(name)) for name in self._titles}
        return _GAP.join(cells[name].rjust(_column_width(title)) for name, title in self._titles.items())


def _ordered_metrics(figures: Mapping[str, object]) -> list[str]:
    """The valid metrics of an epoch, the most important first."""
    metrics = [name for name in figures if name not in _EPOCH_TITLES and name != "epochs"]
    first = [name for name in _FIRST_METRICS if name in metrics]
    return list(dict.fromkeys([*metrics[:1], *first, *metrics]))


def epoch_line(figures: Mapping[str, float | int | str | None]) -> str:
    """An epoch as a single line, for a log file."""
    metrics = _ordered_metrics(figures)
    shown = [name for name in metrics if name in (metrics[0], *_FIRST_METRICS)]
    parts = [f"epoch {figures['epoch']}/{figures['epochs']}", f"train loss {figure(figures['train_loss'])}"]
    if shown:
        parts.append(" ".join(["valid", *(f"{metric_title(name)} {figure(figures[name])}" for name in shown)]))
    parts.append(f"{_epoch_cell('rows_per_second', figures['rows_per_second'])} rows/s")
    return _GAP.join([*parts, *(["best"] if figures.get("best") else [])])


def _column_width(title: str) -> int:
    return max(len(title), _COLUMN_WIDTH) if title not in ("epoch", "best", "lr x") else max(len(title), 5)


def _line_width(titles: Mapping[str, str]) -> int:
    return sum(_column_width(title) + len(_GAP) for title in titles.values()) - len(_GAP)


def _epoch_cell(name: str, value: float | int | str | None) -> str:
    if name == "best":
        return "*" if value else ""
    if name == "rows_per_second" and isinstance(value, float | int):
        return f"{value:,.0f}"
    if name == "scale" and isinstance(value, float | int):
        return f"{value:g}"
    return figure(value)
