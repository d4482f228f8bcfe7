"""The gain of chosen crosses on rows that took no part in the choice, with intervals and q-values."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from widedeep.discovery.fields import CrossField, TrainRows, count_combinations, cross_column
from widedeep.discovery.fold_models import FIRST_SWEEPS, LIST_STEPS
from widedeep.discovery.screen import Candidate, Score
from widedeep.discovery.statistics import q_values, tail
from widedeep.evaluation.comparison import Change, Estimate, LabelledRows, auc_estimate, loss_fall, row_losses
from widedeep.memory.additive import Additive, fit_additive
from widedeep.memory.columns import Column, Floats, Rows, plain_chunks, split
from widedeep.ordered import in_threads
from widedeep.recipe.data import LabelKind
from widedeep.reporting import Meter, Reporter
from widedeep.workers.shelf import Shelf, taken

CHAIN_SWEEPS = 3
"""Sweeps over all columns after each cross that is added; they start from the model without it."""
NULL_CROSSES = 60
"""Number of crosses with permuted members that make the null."""
_NULLS_TOGETHER = 4
"""A worker makes so many of them at a time."""
_NULL_SEED = 0x6E756C6C  # "null" in ASCII

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ProvedCross:
    """A cross that was chosen, with the result of its proof."""

    score: Score
    distinct: int
    """Number of combinations in the train rows that were read."""
    support: float
    """Share of the proof's rows whose combination occurs in the choice's rows: only there the cross has an effect."""
    loss: Change
    """Fall of the log loss, or of the squared error, per row, on top of main effects and the crosses before it."""
    auc: Change | None
    """Rise of the AUC likewise; None for a regression, or rows of one class."""
    q: float
    """Its q-value among all chosen crosses."""


@dataclass(frozen=True)
class Proof:
    """The chosen crosses, those that are kept and those that are not, and the gain of the kept set."""

    kept: tuple[ProvedCross, ...]
    refused: tuple[ProvedCross, ...]
    loss: Change
    """Fall of the loss per row from the model without the kept crosses to the model with all of them."""
    auc: Change | None
    """Rise of the AUC likewise; None for a regression, or rows of one class."""
    columns: tuple[Column, ...] = ()
    """Main effects, known crosses, kept crosses."""
    before: Additive | None = None
    """The model without the kept crosses, which has the first columns."""
    after: Additive | None = None
    """The model with the kept crosses."""


class Prover:
    """Fits nested additive models on the rows of the choice and compares them on the rows of the proof."""

    def __init__(
        self, data: TrainRows, offset: Floats | None, known: Sequence[Candidate] = (), shelf: Shelf | None = None
    ) -> None:
        """Chosen crosses must beat a model of main effects and the crosses `known`; `offset` [N] is added to logits.

        With `shelf`, its workers make the null.
        """
        self._shelf = shelf
        # A part of its own for each kind of rows: the fit passes over the proof's rows, and no branch depends on a row.
        order = np.argsort(data.proof, kind="stable")
        self.data, self.offset = data.gather(order), None if offset is None else offset[order]
        self._bounds = [0, int((~data.proof).sum()), data.num_rows]
        crosses = (self._cross(candidate) for candidate in known)
        self.columns: list[Column] = [*(self._in_parts(field.column()) for field in self.data.fields), *crosses]
        target, rows = self.data.target, self.data.proof
        self._label = target.label[rows].astype(np.float64)
        self._weight = None if target.weight is None else target.weight[rows].astype(np.float64)
        self._labelled = LabelledRows.of("binary", self._label, self._weight)

    def prove(self, chosen: Sequence[Score], fdr: float, reporter: Reporter) -> Proof:
        """Judge the crosses in the order of their choice, each on top of the kept crosses before it."""
        if not chosen:
            no_change = Change(0.0, 0.0)
            return Proof((), (), no_change, no_change if self.data.target.kind == "binary" else None)
        with reporter.work("prove crosses", 2 * len(chosen) + NULL_CROSSES, "fits") as meter:
            self.base = self._fitted(self.columns, FIRST_SWEEPS, None)
            judged, models = self._chain(chosen, meter, 0)
            null = self._null(chosen, models[-1], meter, len(chosen))
            kept, refused = _judged(judged, null, fdr, len(chosen))
            dropped = refused
            while dropped:
                # A cross that was measured on top of a dropped cross must be measured again.
                again, models = self._chain([cross.score for cross in kept], meter, len(chosen) + NULL_CROSSES)
                kept, dropped = _judged(again, null, fdr, len(chosen))
                refused += dropped
        columns, after = models[-1]
        loss, auc = self._measured(*models[-1]).change_from(self._measured(*models[0]))
        return Proof(tuple(kept), tuple(refused), loss, auc, tuple(columns), models[0][1], after)

    def _chain(
        self, scores: Sequence[Score], meter: Meter, done: int
    ) -> tuple[list[ProvedCross], list[tuple[list[Column], Additive]]]:
        models = [(list(self.columns), self.base)]
        # A fit needs the one before it, so it leaves a thread for all the rest.
        with ThreadPoolExecutor(1) as beside:
            crosses = [beside.submit(self._cross, score.candidate) for score in scores]
            measured = [beside.submit(self._measured, *models[0])]
            for number, cross in enumerate(crosses, 1):
                columns, model = models[-1]
                columns = [*columns, cross.result()]
                models.append((columns, self._fitted(columns, CHAIN_SWEEPS, model)))
                measured.append(beside.submit(self._measured, *models[-1]))
                meter.update(done + number)
        judged = []
        for score, cross, before, after in zip(scores, crosses, measured, measured[1:], strict=False):
            loss, auc = after.result().change_from(before.result())
            judged.append(ProvedCross(score, *self._extent(cross.result()), loss, auc, 1.0))
        return judged, models

    def _cross(self, candidate: Candidate) -> Column:
        return self._in_parts(cross_column(candidate.members(self.data.by_name)))

    def _in_parts(self, column: Column) -> Column:
        """The column with a chunk of the choice's rows and one of the proof's."""
        return split(column, self._bounds)

    def _fitted(self, columns: Sequence[Column], sweeps: int, start: Additive | None) -> Additive:
        return fit_additive(
            columns,
            self.data.target,
            ~self.data.proof,
            sweeps=sweeps,
            start=start,
            offset=self.offset,
            list_steps=LIST_STEPS,
        )

    def _logit(self, columns: Sequence[Column], model: Additive) -> Numbers:
        logit = model.logit(columns, self.data.num_rows, self.data.proof)
        if self.offset is not None:
            logit += self.offset
        return logit[self.data.proof].astype(np.float64)

    def _measured(self, columns: Sequence[Column], model: Additive) -> "_Measured":
        kind, logit = self.data.target.kind, self._logit(columns, model)
        auc = auc_estimate(self._labelled, logit) if kind == "binary" else None
        return _Measured(row_losses(kind, self._label, logit), self._weight, auc)

    def _extent(self, column: Column) -> tuple[int, float]:
        proof = self.data.proof
        seen = int(column.support(proof)[column.support(~proof) > 0].sum())
        (_, single), (in_proof, more) = map(count_combinations, plain_chunks(column))
        return column.size + single + more, seen / max(1, in_proof)

    def _null(self, chosen: Sequence[Score], last: tuple[list[Column], Additive], meter: Meter, done: int) -> Numbers:
        """z of the gains of permuted crosses on top of the whole chain."""
        columns, model = last
        logit = model.logit(columns, self.data.num_rows)
        if self.offset is not None:
            logit += self.offset
        crosses = NullCrosses(
            fields={name: self.data.by_name[name] for score in chosen for name in score.candidate.fields},
            chosen=tuple(chosen),
            kind=self.data.target.kind,
            rows=self.data.target.at(logit),
            logit=logit,
            label=self._label,
            losses=row_losses(self.data.target.kind, self._label, logit[self.data.proof].astype(np.float64)),
            weight=self._weight,
            bounds=tuple(self._bounds),
        )
        if self._shelf is None:

            def gain(number: int) -> float:
                z = crosses.standardised_gain(number)
                meter.update(done + number + 1)
                return z

            return np.array(in_threads(gain, range(NULL_CROSSES)))
        z = np.empty(NULL_CROSSES)
        finished = 0
        with self._shelf.holding(crosses) as path:
            tasks = [
                (path, range(first, min(first + _NULLS_TOGETHER, NULL_CROSSES)))
                for first in range(0, NULL_CROSSES, _NULLS_TOGETHER)
            ]
            for task, of_task in self._shelf.workers.map(_null_gains, tasks):
                _, numbers = tasks[task]
                z[numbers.start : numbers.stop] = of_task
                finished += len(numbers)
                meter.update(done + finished)
        return z


@dataclass(frozen=True)
class NullCrosses:
    """What is needed to make crosses with permuted members, and to measure each on top of a model."""

    fields: Mapping[str, CrossField]
    """The members of the chosen crosses."""
    chosen: tuple[Score, ...]
    kind: LabelKind
    rows: Rows
    """The rows at the model's logits, those of the choice first."""
    logit: Floats
    """[N]: the model's logits."""
    label: Numbers
    """Of the proof's rows."""
    losses: Numbers
    """Of the proof's rows, by the model."""
    weight: Numbers | None
    bounds: tuple[int, ...]
    """0, the number of the choice's rows, N."""

    def standardised_gain(self, number: int) -> float:
        """z of the gain of the null's cross of this number."""
        _, choice, num_rows = self.bounds
        proof = np.arange(num_rows) >= choice
        score = self.chosen[number % len(self.chosen)]
        column = self._permuted(score.candidate, np.random.Generator(np.random.Philox([_NULL_SEED, number])))
        weights = np.zeros(column.size, dtype=np.float32)
        weights += column.sums(~proof, self.rows).steps(weights, score.penalty, logistic=self.rows.logistic)
        with_cross = self.logit.copy()
        column.add_weights(weights, with_cross, proof)
        after = row_losses(self.kind, self.label, with_cross[choice:].astype(np.float64))
        return loss_fall(self.losses, after, self.weight).z

    def _permuted(self, candidate: Candidate, draw: np.random.Generator) -> Column:
        """The cross with the rows of all members but one permuted, so that no two members are related."""
        members = candidate.members(self.fields)
        unpermuted = int(draw.integers(len(members)))
        # Rows are permuted within the choice and within the proof, so that a value stays as frequent in each.
        _, choice, rows = self.bounds
        for position, member in enumerate(members):
            if position != unpermuted:
                in_proof = choice + draw.permutation(rows - choice)
                members[position] = member.gather(np.concatenate([draw.permutation(choice), in_proof]))
        return split(cross_column(members), self.bounds)


def _null_gains(task: tuple[Path, range]) -> list[float]:
    """What a worker does: `standardised_gain` of some numbers."""
    path, numbers = task
    crosses: NullCrosses = taken(path)
    return [crosses.standardised_gain(number) for number in numbers]


@dataclass(frozen=True)
class _Measured:
    """A model on the rows of the proof."""

    losses: Numbers
    """[n]: the loss of each row."""
    weight: Numbers | None
    auc: Estimate | None

    def change_from(self, before: "_Measured") -> tuple[Change, Change | None]:
        """The fall of the loss and the rise of the AUC from another model; the latter is None without an AUC."""
        loss = loss_fall(before.losses, self.losses, self.weight)
        return loss, None if self.auc is None or before.auc is None else self.auc.minus(before.auc).change()


def _judged(
    crosses: Sequence[ProvedCross], null: Numbers, fdr: float, total: int
) -> tuple[list[ProvedCross], list[ProvedCross]]:
    """The crosses with their q-values among `total` chosen ones: those that are kept, and those that are not."""
    p = tail(np.array([cross.loss.z for cross in crosses]), null)
    q = q_values(np.concatenate([p, np.ones(total - len(p))]))
    judged = [replace(cross, q=float(value)) for cross, value in zip(crosses, q, strict=False)]
    return [cross for cross in judged if cross.q <= fdr], [cross for cross in judged if cross.q > fdr]
