"""Additive models of the rows of the choice, one per fold, so that no row's logit depends on the row's own label."""

from collections.abc import Sequence
from copy import copy

import numpy as np

from widedeep.evaluation.comparison import Change, loss_fall, row_losses
from widedeep.memory.additive import Additive, Target, fit_additive
from widedeep.memory.columns import CodeColumn, Column, Floats, ListColumn, split
from widedeep.ordered import in_threads

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

    def __init__(self, columns: Sequence[Column], target: Target, offset: Floats | None) -> None:
        """Fit the first columns; `offset` [n] is added to the logits."""
        self.target, self.offset = target, offset
        rows = len(target.label)
        self._bounds = [rows * fold // FOLDS for fold in range(FOLDS + 1)]
        self._columns = [self._in_folds(column) for column in columns]
        self._models: list[Additive | None] = [None] * FOLDS
        self._fit(FIRST_SWEEPS)
        self.logit = self._logits()
        """[n] float32: each row's logit by the model that was fitted without it."""

    def with_column(self, column: Column) -> "FoldModels":
        """New models with one more column; the other weights are fitted again."""
        return self._changed([*self._columns, self._in_folds(column)], self._models)

    def without_column(self, position: int) -> "FoldModels":
        """New models without the column at `position`; the other weights are fitted again."""
        models = [_without(model, position) for model in self._models if model is not None]
        return self._changed([*self._columns[:position], *self._columns[position + 1 :]], models)

    def loss_fall_to(self, other: "FoldModels") -> Change:
        """The fall of the loss from these models to other models of the same rows, out of fold."""
        label = self.target.label.astype(np.float64)
        weight = None if self.target.weight is None else self.target.weight.astype(np.float64)
        before, after = (
            row_losses(self.target.kind, label, logit.astype(np.float64)) for logit in (self.logit, other.logit)
        )
        return loss_fall(before, after, weight)

    def _changed(self, columns: Sequence[Column], models: Sequence[Additive | None]) -> "FoldModels":
        changed = copy(self)
        changed._columns, changed._models = list(columns), list(models)
        changed._fit(LATER_SWEEPS)
        changed.logit = changed._logits()
        return changed

    def _fit(self, sweeps: int) -> None:
        def fit(fold: int) -> Additive:
            used = np.ones(len(self.target.label), dtype=np.bool_)
            used[self._bounds[fold] : self._bounds[fold + 1]] = False
            start = self._models[fold]
            return fit_additive(
                self._columns,
                self.target,
                used,
                sweeps=sweeps,
                start=start,
                offset=self.offset,
                list_steps=LIST_STEPS,
            )

        self._models = list(in_threads(fit, range(FOLDS)))

    def _logits(self) -> Floats:
        logit = np.empty(len(self.target.label), dtype=np.float32)
        for fold, model in enumerate(self._models):
            assert model is not None
            rows = slice(self._bounds[fold], self._bounds[fold + 1])
            part = [_chunk(column, fold) for column in self._columns]
            logit[rows] = model.logit(part, rows.stop - rows.start)
        return logit if self.offset is None else logit + self.offset

    def _in_folds(self, column: Column) -> Column:
        """The column with a chunk per fold."""
        return split(column, self._bounds)


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
