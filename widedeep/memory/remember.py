"""Fits the memory of crosses: an additive model of all train rows, one without each fold, and the first scales."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from widedeep.memory.additive import (
    MOST_SHRINKAGE,
    Additive,
    Target,
    fit_additive,
    shrinkage_and_z,
    stored_sums,
)
from widedeep.memory.columns import Column, Floats, ListColumn, NarrowLists, narrow_lists
from widedeep.memory.cross_memory import SIGNS, SUPPORT_BUCKETS, CrossMemory, FoldMemory, support_bucket
from widedeep.memory.sums import MemorySums
from widedeep.reporting import Reporter
from widedeep.workers.shelf import Shelf, taken

_SWEEPS, _REFIT_SWEEPS, _FOLD_SWEEPS, _CALIBRATION_SWEEPS = 12, 3, 9, 12
_LIKELY_Z, _CERTAIN_Z = 2.0, 3.0
"""From these z on (see `shrinkage_and_z`), a cross counts as more than chance, and as certain."""


def remember(
    main: Sequence[Column],
    crosses: Sequence[Column],
    least_support: Sequence[int],
    target: Target,
    folds: NDArray[np.uint8],
    reporter: Reporter,
    stored: MemorySums | None = None,
    cuts: Sequence[Floats] = (),
    shelf: Shelf | None = None,
) -> tuple[CrossMemory, FoldMemory, MemorySums]:
    """Fit the memory of `crosses` on top of the columns of `main`.

    `folds` [n] holds each row's fold, from 0. A value of a cross with fewer rows than the cross's `least_support` is
    unknown, as it is when new rows are encoded. A row's label has no influence on its fold's model, except through the
    columns' shrinkage: one number for each column, which is fitted on all rows.

    `stored` holds sums of rows that are gone, on which all models are counted on; the first scales and offsets are then
    1 and 0, as those are learnt already. The result's last part is such sums of all rows; `cuts` are those of the
    numbers among `main`, which it keeps. Workers, those of `shelf`, fit the models without a fold if there are any: the
    bytes are the same.
    """
    columns, num_folds = [*main, *crosses], int(folds.max()) + 1
    num_rows = len(folds)
    with reporter.work("memory of crosses", num_folds + 2, "fits") as meter:
        whole = _fit_all_rows(columns, len(main), target, stored)
        every_row = np.ones(num_rows, dtype=np.bool_)
        value, support = _cross_tables(whole, main, crosses, least_support, every_row, stored)
        sums = _sums(whole, columns, len(main), target, every_row, stored, cuts)
        meter.update(1)
        out_of_fold = np.empty(num_rows, dtype=np.float32)
        fits = _FoldFits(tuple(main), tuple(crosses), tuple(least_support), target, folds, whole.shrinkage, stored)
        fitted: dict[int, _FoldFit] = {}
        for fold, fit in _fold_fits(fits, num_folds, shelf):
            fitted[fold] = fit
            out_of_fold[folds == fold] = fit.logit
            meter.update(1 + len(fitted))
        in_order = [fitted[fold] for fold in range(num_folds)]
        fold_memory = FoldMemory(np.stack([fit.value for fit in in_order]), np.stack([fit.support for fit in in_order]))
        if stored is None:
            scale, offset = _calibrated(crosses, fold_memory, folds, target, out_of_fold)
            silent = [penalty == MOST_SHRINKAGE for penalty in whole.shrinkage[len(main) :]]
            scale[silent], offset[silent] = 1.0, 0.0
        else:
            scale = np.ones((len(crosses), SUPPORT_BUCKETS, SIGNS), dtype=np.float32)
            offset = np.zeros((len(crosses), SUPPORT_BUCKETS), dtype=np.float32)
        meter.update(num_folds + 2)
    return CrossMemory(value, support, scale, offset), fold_memory, sums


@dataclass(frozen=True)
class _FoldFit:
    """The model without a fold."""

    value: Floats
    support: NDArray[np.uint8]
    logit: Floats
    """What its main effects say of the fold's rows."""


@dataclass(frozen=True)
class _FoldFits:
    """What is needed to fit the model without any one fold."""

    main: tuple[Column, ...]
    crosses: tuple[Column, ...]
    least_support: tuple[int, ...]
    target: Target
    folds: NDArray[np.uint8]
    shrinkage: tuple[float, ...]
    stored: MemorySums | None

    def fit(self, fold: int) -> _FoldFit:
        used = self.folds != fold
        model = fit_additive(
            [*self.main, *self.crosses],
            self.target,
            used,
            sweeps=_FOLD_SWEEPS,
            shrinkage=self.shrinkage,
            start=None if self.stored is None else self.stored.model(),
            stored=None if self.stored is None else self.stored.columns,
        )
        of_main = Additive(model.bias, model.weights[: len(self.main)], ())
        logit = of_main.logit(self.main, len(used))[~used]
        return _FoldFit(*_cross_tables(model, self.main, self.crosses, self.least_support, used, self.stored), logit)


def _fold_fits(fits: _FoldFits, num_folds: int, shelf: Shelf | None) -> Iterator[tuple[int, _FoldFit]]:
    """Each fold with its fit, as they are finished."""
    if shelf is None:
        with ThreadPoolExecutor(min(num_folds, os.cpu_count() or 1)) as pool:
            yield from enumerate(pool.map(fits.fit, range(num_folds)))
    else:
        with shelf.holding(fits) as path:
            yield from shelf.workers.map(_fit_fold, [(path, fold) for fold in range(num_folds)])


def _fit_fold(task: tuple[Path, int]) -> _FoldFit:
    """What a worker does."""
    path, fold = task
    fits: _FoldFits = taken(path)
    return fits.fit(fold)


def _sums(
    model: Additive,
    columns: Sequence[Column],
    num_main: int,
    target: Target,
    every_row: NDArray[np.bool_],
    stored: MemorySums | None,
    cuts: Sequence[Floats],
) -> MemorySums:
    support = [column.support(every_row).astype(np.float64) for column in columns[num_main:]]
    if stored is not None:
        support = [rows + old for rows, old in zip(support, stored.support, strict=True)]
    kept = stored_sums(model, columns, target, every_row, None if stored is None else stored.columns)
    return MemorySums(model.bias, model.shrinkage, tuple(kept), tuple(support), tuple(cuts))


def _fit_all_rows(columns: Sequence[Column], num_main: int, target: Target, stored: MemorySums | None) -> Additive:
    """The model of all rows. A cross that may be chance is left out: its shrinkage is MOST_SHRINKAGE.

    If a cross has no effect, the shrinkage of maximal evidence grows too slowly to become large in a few sweeps. The
    cross would keep weights that are noise.
    """
    used = np.ones(len(target.label), dtype=np.bool_)
    start, sums = (None, None) if stored is None else (stored.model(), stored.columns)
    model = fit_additive(columns, target, used, sweeps=_SWEEPS, start=start, stored=sums)
    positions = range(num_main, len(columns))
    shrinkage = list(model.shrinkage)
    moments = shrinkage_and_z(model, columns, positions, target, used, sums)
    for position, (by_moments, z) in zip(positions, moments, strict=True):
        if z < _LIKELY_Z:
            shrinkage[position] = MOST_SHRINKAGE
        elif z < _CERTAIN_Z:
            shrinkage[position] = min(max(shrinkage[position], by_moments), MOST_SHRINKAGE)
    if shrinkage == list(model.shrinkage):
        return model
    return fit_additive(columns, target, used, sweeps=_REFIT_SWEEPS, shrinkage=shrinkage, start=model, stored=sums)


def _cross_tables(
    model: Additive,
    main: Sequence[Column],
    crosses: Sequence[Column],
    least_support: Sequence[int],
    used: NDArray[np.bool_],
    stored: MemorySums | None,
) -> tuple[Floats, NDArray[np.uint8]]:
    values, supports = [], []
    first = len(main)
    for cross, (weights, shrinkage, column, least) in enumerate(
        zip(model.weights[first:], model.shrinkage[first:], crosses, least_support, strict=True)
    ):
        rows = column.support(used)
        if stored is not None:
            rows = np.rint(rows + stored.support[cross]).astype(np.int64)
        # A cross that was left out has no support either: an offset that is learnt by support would be chance too.
        known = (rows >= least) & (shrinkage < MOST_SHRINKAGE)
        values.append(np.where(known, weights, np.float32(0.0)))
        supports.append(support_bucket(np.where(known, rows, 0)))
    return np.concatenate(values), np.concatenate(supports)


def _calibrated(
    crosses: Sequence[Column], memory: FoldMemory, folds: NDArray[np.uint8], target: Target, main_logit: Floats
) -> tuple[Floats, Floats]:
    """Scales and offsets, fitted to out-of-fold values on top of out-of-fold main effects."""
    start, columns = 0, []
    total = main_logit.copy()
    for cross in crosses:
        stop = start + cross.size
        scaled, shifted = _calibration_columns(cross, memory.value[:, start:stop], memory.support[:, start:stop], folds)
        # Scales are fitted as differences from 1, the scale of a value that is fully trusted.
        scaled.add_weights(np.ones(scaled.size, dtype=np.float32), total)
        columns += [scaled, shifted]
        start = stop
    model = fit_additive(columns, target, np.ones(len(folds), dtype=np.bool_), sweeps=_CALIBRATION_SWEEPS, offset=total)
    scales = [1.0 + weights.reshape(SUPPORT_BUCKETS, SIGNS) for weights in model.weights[::2]]
    return np.stack(scales).astype(np.float32), np.stack(model.weights[1::2])


def _calibration_columns(
    cross: Column, value: Floats, support: NDArray[np.uint8], folds: NDArray[np.uint8]
) -> tuple[ListColumn, ListColumn]:
    scaled, shifted, start = [], [], 0
    ones = np.ones(max((len(chunk) for chunk in cross.chunks if isinstance(chunk, np.ndarray)), default=0), np.int64)
    for chunk in cross.chunks:
        if isinstance(chunk, np.ndarray):
            narrowed = NarrowLists(chunk, ones[: len(chunk)])
        else:
            narrowed = chunk if isinstance(chunk, NarrowLists) else narrow_lists(chunk, cross.size)
        codes, lengths, weights = narrowed.codes, narrowed.lengths, narrowed.weights
        rows = np.repeat(folds[start : start + len(lengths)], lengths)
        values, buckets = value[rows, codes], support[rows, codes]
        weighted = values if weights is None else values * weights
        scaled.append(NarrowLists(buckets * np.uint8(SIGNS) + (values < 0), lengths, weighted))
        shifted.append(NarrowLists(buckets, lengths, weights))
        start += len(lengths)
    return ListColumn(scaled, SUPPORT_BUCKETS * SIGNS), ListColumn(shifted, SUPPORT_BUCKETS)
