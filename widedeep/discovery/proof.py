"""The gain of chosen crosses on rows that took no part in the choice, with intervals and q-values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from widedeep.discovery.fields import TrainRows, count_combinations, cross_column
from widedeep.discovery.fold_models import FIRST_SWEEPS, LIST_STEPS
from widedeep.discovery.screen import Candidate, Score
from widedeep.discovery.statistics import q_values, tail
from widedeep.evaluation.comparison import Change, auc_rise, loss_fall, row_losses
from widedeep.memory.additive import Additive, fit_additive
from widedeep.memory.columns import Column, Floats
from widedeep.ordered import in_threads
from widedeep.reporting import Meter, Reporter

CHAIN_SWEEPS = 3
"""Sweeps over all columns after each cross that is added; they start from the model without it."""
NULL_CROSSES = 60
"""Number of crosses with permuted members that make the null."""
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

    def __init__(self, data: TrainRows, offset: Floats | None, known: Sequence[Candidate] = ()) -> None:
        """Chosen crosses must beat a model of main effects and the crosses `known`; `offset` [N] is added to logits."""
        self.data, self.offset = data, offset
        crosses = (cross_column(candidate.members(data.by_name)) for candidate in known)
        self.columns: list[Column] = [*(field.column() for field in data.fields), *crosses]
        rows = data.proof
        self._label = data.target.label[rows].astype(np.float64)
        self._weight = None if data.target.weight is None else data.target.weight[rows].astype(np.float64)

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
        loss, auc = self._changes(self._logit(*models[0]), self._logit(columns, after))
        return Proof(tuple(kept), tuple(refused), loss, auc, tuple(columns), models[0][1], after)

    def _chain(
        self, scores: Sequence[Score], meter: Meter, done: int
    ) -> tuple[list[ProvedCross], list[tuple[list[Column], Additive]]]:
        columns, model = list(self.columns), self.base
        models = [(list(columns), model)]
        logit, judged = self._logit(columns, model), []
        for number, score in enumerate(scores, 1):
            column = cross_column(score.candidate.members(self.data.by_name))
            columns.append(column)
            model = self._fitted(columns, CHAIN_SWEEPS, model)
            models.append((list(columns), model))
            before, logit = logit, self._logit(columns, model)
            loss, auc = self._changes(before, logit)
            distinct, support = self._extent(column)
            judged.append(ProvedCross(score, distinct, support, loss, auc, 1.0))
            meter.update(done + number)
        return judged, models

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
        logit = model.logit(columns, self.data.num_rows)
        if self.offset is not None:
            logit += self.offset
        return logit[self.data.proof].astype(np.float64)

    def _changes(self, before: Numbers, after: Numbers) -> tuple[Change, Change | None]:
        kind, label = self.data.target.kind, self._label
        loss = loss_fall(row_losses(kind, label, before), row_losses(kind, label, after), self._weight)
        return loss, auc_rise(label, before, after, self._weight) if kind == "binary" else None

    def _extent(self, column: Column) -> tuple[int, float]:
        proof = self.data.proof
        seen = int(column.support(proof)[column.support(~proof) > 0].sum())
        _, single = count_combinations(column, np.ones_like(proof))
        return column.size + single, seen / max(1, count_combinations(column, proof)[0])

    def _null(self, chosen: Sequence[Score], last: tuple[list[Column], Additive], meter: Meter, done: int) -> Numbers:
        """z of the gains of permuted crosses on top of the whole chain."""
        columns, model = last
        logit = model.logit(columns, self.data.num_rows)
        if self.offset is not None:
            logit += self.offset
        rows = self.data.target.at(logit)
        before = row_losses(self.data.target.kind, self._label, logit[self.data.proof].astype(np.float64))
        used = ~self.data.proof

        def standardised_gain(number: int) -> float:
            score = chosen[number % len(chosen)]
            column = self._permuted(score.candidate, np.random.Generator(np.random.Philox([_NULL_SEED, number])))
            weights = np.zeros(column.size, dtype=np.float32)
            weights += column.sums(used, rows).steps(weights, score.penalty, logistic=rows.logistic)
            with_cross = logit.copy()
            column.add_weights(weights, with_cross)
            after = row_losses(self.data.target.kind, self._label, with_cross[self.data.proof].astype(np.float64))
            meter.update(done + number + 1)
            return loss_fall(before, after, self._weight).z

        return np.array(in_threads(standardised_gain, range(NULL_CROSSES)))

    def _permuted(self, candidate: Candidate, draw: np.random.Generator) -> Column:
        """The cross with the rows of all members but one permuted, so that no two members are related."""
        members = candidate.members(self.data.by_name)
        unpermuted = int(draw.integers(len(members)))
        # Rows are permuted within the choice and within the proof, so that a value stays as frequent in each.
        parts = [np.flatnonzero(part) for part in (self.data.proof, ~self.data.proof)]
        for position, member in enumerate(members):
            if position != unpermuted:
                order = np.arange(self.data.num_rows)
                for rows in parts:
                    order[rows] = rows[draw.permutation(len(rows))]
                members[position] = member.gather(order)
        return cross_column(members)


def _judged(
    crosses: Sequence[ProvedCross], null: Numbers, fdr: float, total: int
) -> tuple[list[ProvedCross], list[ProvedCross]]:
    """The crosses with their q-values among `total` chosen ones: those that are kept, and those that are not."""
    p = tail(np.array([cross.loss.z for cross in crosses]), null)
    q = q_values(np.concatenate([p, np.ones(total - len(p))]))
    judged = [replace(cross, q=float(value)) for cross, value in zip(crosses, q, strict=False)]
    return [cross for cross in judged if cross.q <= fdr], [cross for cross in judged if cross.q > fdr]
