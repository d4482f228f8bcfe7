"""Additive models of the rows of the choice, one per fold, so that no row's logit depends on the row's own label."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widedeep.evaluation.comparison import Change, loss_fall, row_losses
from widedeep.memory.additive import Additive, Target, fit_additive
from widedeep.memory.columns import CodeColumn, Column, Floats, ListColumn, split
from widedeep.ordered import in_threads
from widedeep.workers.shelf import Shelf, taken

FOLDS = 5
FIRST_SWEEPS = 8
LATER_SWEEPS = 2
"""Sweeps over all columns after a column is added or removed."""
LIST_STEPS = 8
"""Steps of a column of lists in each sweep. With 1, a cross of two lists got half of its gain, and triples the rest."""


class FoldModels:
    """Models of n rows in random order; fold f is the f-th of FOLDS consecutive parts of the rows.

    Every model has all columns that were added, and is fitted on all rows but those of its fold. It would not do to add
    up values out of fold, one cross at a time: the residuals of other rows would then contain a row's own label with
    the wrong sign, and the next cross would find it there.
    """

    def __init__(
        self, columns: Sequence[Column], target: Target, offset: Floats | None, shelf: Shelf | None = None
    ) -> None:
        """Fit the first columns; `offset` [n] is added to the logits. With `shelf`, its workers fit the same models."""
        self.target, self.offset = target, offset
        rows = len(target.label)
        self._bounds = [rows * fold // FOLDS for fold in range(FOLDS + 1)]
        self._columns = [self._in_folds(column) for column in columns]
        self._shelf = shelf
        self._shelved = [] if shelf is None else [shelf.put(column) for column in self._columns]
        self._shelved_rows = None if shelf is None else shelf.put((target, offset))
        self._models: list[Additive | None] = [None] * FOLDS
        self._fit(FIRST_SWEEPS)
        self.logit = self._logits()
        """[n] float32: each row's logit by the model that was fitted without it."""

    def with_column(self, column: Column) -> "FoldModels":
        """New models with one more column; the other weights are fitted again."""
        column = self._in_folds(column)
        shelved = [] if self._shelf is None else [*self._shelved, self._shelf.put(column)]
        return self._changed([*self._columns, column], shelved, self._models)

    def without_column(self, position: int) -> "FoldModels":
        """New models without the column at `position`; the other weights are fitted again."""
        models = [_without(model, position) for model in self._models if model is not None]
        columns, shelved = ([*all_of[:position], *all_of[position + 1 :]] for all_of in (self._columns, self._shelved))
        return self._changed(columns, shelved, models)

    def loss_fall_to(self, other: "FoldModels") -> Change:
        """The fall of the loss from these models to other models of the same rows, out of fold."""
        label = self.target.label.astype(np.float64)
        weight = None if self.target.weight is None else self.target.weight.astype(np.float64)
        before, after = (
            row_losses(self.target.kind, label, logit.astype(np.float64)) for logit in (self.logit, other.logit)
        )
        return loss_fall(before, after, weight)

    def _changed(
        self, columns: Sequence[Column], shelved: Sequence[Path], models: Sequence[Additive | None]
    ) -> "FoldModels":
        changed = copy(self)
        changed._columns, changed._shelved, changed._models = list(columns), list(shelved), list(models)
        changed._fit(LATER_SWEEPS)
        changed.logit = changed._logits()
        return changed

    def _fit(self, sweeps: int) -> None:
        if self._shelf is not None and self._shelved_rows is not None:
            with self._shelf.holding(self._models) as start:
                shelved, rows = tuple(self._shelved), self._shelved_rows
                tasks = [_FoldTask(shelved, rows, start, fold, self._left_out(fold), sweeps) for fold in range(FOLDS)]
                self._models = list(self._shelf.workers.in_order(_fit_task, tasks))
            return

        def fit(fold: int) -> Additive:
            start = self._models[fold]
            return _fit_fold(self._columns, self.target, self.offset, self._left_out(fold), start, sweeps)

        self._models = list(in_threads(fit, range(FOLDS)))

    def _left_out(self, fold: int) -> slice:
        return slice(self._bounds[fold], self._bounds[fold + 1])

    def _logits(self) -> Floats:
        logit = np.empty(len(self.target.label), dtype=np.float32)
        for fold, model in enumerate(self._models):
            assert model is not None
            rows = self._left_out(fold)
            part = [_chunk(column, fold) for column in self._columns]
            logit[rows] = model.logit(part, rows.stop - rows.start)
        return logit if self.offset is None else logit + self.offset

    def _in_folds(self, column: Column) -> Column:
        """The column with a chunk per fold."""
        return split(column, self._bounds)


def _fit_fold(
    columns: Sequence[Column],
    target: Target,
    offset: Floats | None,
    left_out: slice,
    start: Additive | None,
    sweeps: int,
) -> Additive:
    used = np.ones(len(target.label), dtype=np.bool_)
    used[left_out] = False
    return fit_additive(columns, target, used, sweeps=sweeps, start=start, offset=offset, list_steps=LIST_STEPS)


@dataclass(frozen=True)
class _FoldTask:
    """What a worker needs to fit a fold's model; paths are files of a shelf."""

    columns: tuple[Path, ...]
    rows: Path
    """Target and offset."""
    start: Path
    """The models of all folds to start from."""
    fold: int
    left_out: slice
    sweeps: int


def _fit_task(task: _FoldTask) -> Additive:
    target, offset = taken(task.rows)
    start = taken(task.start)[task.fold]
    return _fit_fold([taken(path) for path in task.columns], target, offset, task.left_out, start, task.sweeps)


def _chunk(column: Column, fold: int) -> Column:
    if isinstance(column, CodeColumn):
        return CodeColumn([column.chunks[fold]], column.size)
    return ListColumn([column.chunks[fold]], column.size)


def _without(model: Additive, position: int) -> Additive:
    return Additive(
        model.bias,
        (*model.weights[:position], *model.weights[position + 1 :]),
        (*model.shrinkage[:position], *model.shrinkage[position + 1 :]),
    )
