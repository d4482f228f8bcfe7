"""The figures of a model at each value of a column."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import Change, LabelledRows, estimates
from widedeep.evaluation.ratios import ratio_estimates
from widedeep.evaluation.slices import LEAST_ROWS, SliceColumn


@dataclass(frozen=True)
class ValueFigures:
    """The figures of the rows with one value."""

    value: str | None
    """None for a missing value."""
    rows: int
    """Number of rows that have a weight."""
    mean_label: float
    metrics: dict[str, Change]
    """AUC, log loss, calibration, …, or RMSE; empty if the rows are too few for intervals."""


def figures_by_value(rows: LabelledRows, column: SliceColumn, score: NDArray[np.floating]) -> list[ValueFigures]:
    """The figures of every value that rows have, most rows first. Scores [N] are probabilities or predictions."""
    order = np.argsort(column.code, kind="stable")
    order = order[rows.weight[order] > 0.0]
    borders = np.searchsorted(column.code[order], np.arange(len(column.values) + 1))
    by_value = [
        _figures(value, _gather(rows, order[start:end]), score[order[start:end]])
        for value, start, end in zip(column.values, borders, borders[1:], strict=False)
        if end > start
    ]
    return sorted(by_value, key=lambda figures: -figures.rows)


def _gather(rows: LabelledRows, kept: NDArray[np.int64]) -> LabelledRows:
    group = None if rows.group is None else np.unique(rows.group[kept], return_inverse=True)[1].astype(np.int64)
    return LabelledRows(rows.kind, rows.label[kept], rows.weight[kept], group)


def _figures(value: str | None, rows: LabelledRows, score: NDArray[np.floating]) -> ValueFigures:
    enough = len(score) >= LEAST_ROWS and rows.enough
    figures = estimates(rows, score) | ratio_estimates(rows, score) if enough else {}
    mean = float(np.average(rows.label, weights=rows.weight))
    return ValueFigures(value, len(score), mean, {name: estimate.change() for name, estimate in figures.items()})
