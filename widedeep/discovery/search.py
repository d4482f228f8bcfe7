"""Choosing crosses on the rows of the choice: screen all pairs, take the best, score the rest again, go on to triples."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

import numpy as np

from widedeep.discovery.fields import TrainRows, cross_column
from widedeep.discovery.fold_models import FoldModels
from widedeep.discovery.screen import NULLS, Candidate, OutOfTime, Residual, Score, Screen
from widedeep.discovery.statistics import threshold
from widedeep.memory.columns import Floats
from widedeep.reporting import Reporter

ROW_LIMIT = 600_000_000
"""Rows times candidates that one rung of the screening may take; with more, fewer rows come first and the best go on."""
LEAST_ROWS = 20_000
KEPT_SHARE = 0.25
"""Of the candidates of a rung, those that go on to the next."""
MOST_REFINED = 200
"""Best pairs that are tried at other granularities and are scored again after each choice."""
BEAM = 60
"""Best pairs that are extended to triples."""
MOST_CHOSEN = 40
MOST_FAILED = 5
"""So many candidates in a row that do not lower the loss end the choice."""
CHOICE_FDR = 0.05


@dataclass
class Found:
    """What the search has come to."""

    chosen: list[Score] = field(default_factory=list)
    """In order of choice; each score is on top of those before."""
    pairs: int = 0
    """Pairs screened."""
    triples: int = 0
    stopped_in: str = ""
    """Where the budget ended the search; empty where it came to its end."""


class Search:
    """One search over the rows of the choice."""

    def __init__(
        self,
        data: TrainRows,
        offset: Floats | None,
        deadline: float,
        reporter: Reporter,
        known: Sequence[Candidate] = (),
    ) -> None:
        """`offset` [N]: what a trained run says of the rows already. `known`: crosses that the recipe has already.

        `deadline` is in seconds of the monotonic clock.
        """
        self.known, self.reporter, self.deadline = known, reporter, deadline
        self.screen = Screen(data.fields, np.flatnonzero(~data.proof), deadline)
        rows = self.screen.rows
        self._target = data.target.taken(rows)
        self._offset = None if offset is None else offset[rows]
        self._taken = {frozenset(one.fields) for one in known}

    def run(self) -> Found:
        """Search until nothing that is left stands out of the null, or the time is up."""
        found = Found()
        try:
            found.stopped_in = "the fit of main effects"
            with self.reporter.work("fit main effects", None, "fits"):
                columns = [one.column() for one in self.screen.fields.values()]
                self.models = FoldModels(columns, self._target, self._offset)
                for candidate in self.known:
                    self._check_time()
                    self.models = self._with(candidate)
            found.stopped_in = "the screening of pairs"
            pairs = self._pairs()
            ranked, least_z = self._screened(pairs, "screen pairs")
            found.pairs = len(pairs)
            found.stopped_in = "the choice among pairs"
            standing = [one for one in ranked if one.z >= least_z][:MOST_REFINED]
            self._choose(self._refined(standing), least_z, found)
            found.stopped_in = "the screening of triples"
            triples = self._extensions(ranked, found)
            ranked, least_z = self._screened(triples, "screen triples")
            found.triples = len(triples)
            found.stopped_in = "the choice among triples"
            self._choose([one for one in ranked if one.z >= least_z][:MOST_REFINED], least_z, found)
            self._drop_parts_of_triples(found)
        except OutOfTime:
            return found
        found.stopped_in = ""
        return found

    def _check_time(self) -> None:
        if monotonic() > self.deadline:
            raise OutOfTime

    def _residual(self) -> Residual:
        return Residual.at(self._target, self.models.logit)

    def _with(self, candidate: Candidate) -> FoldModels:
        return self.models.with_column(cross_column(candidate.members(self.screen.fields)))

    def _pairs(self) -> list[Candidate]:
        pairs = itertools.combinations(self.screen.fields, 2)
        return [self.screen.first_cut(names) for names in pairs if frozenset(names) not in self._taken]

    def _screened(self, candidates: Sequence[Candidate], title: str) -> tuple[list[Score], float]:
        """All scores of the last rung, best first, each z less that of its own null; and the z from which it stands out.

        The null is what the same candidate scores with one member's rows permuted. What the residual still holds of the
        other members, such as the rest of a pair within a triple, is the same in both. How much two such scores differ by
        chance is seen between two permutations.

        Successive halving (Jamieson and Talwalkar 2016): where candidates are too many for all rows, fewer rows come
        first, and the better part goes on to more.
        """
        if not candidates:
            return [], np.inf
        residual, n = self._residual(), len(self.screen.rows)
        rungs = _rungs(len(candidates), n)
        total = sum(count for count, _ in rungs) + NULLS * rungs[-1][0]
        left, done = list(candidates), 0
        scores: list[Score] = []
        with self.reporter.work(title, total, "crosses") as meter:
            for count, rows in rungs:
                left = [one.candidate for one in _best_first(scores)[:count]] if scores else left
                limit = None if rows == n else rows
                scores = self.screen.scores(left, residual, limit=limit, meter=meter, done_before=done)
                done += len(left)
            nulls = []
            for number in range(NULLS):
                null = self.screen.scores(left, residual, null=number, meter=meter, done_before=done)
                nulls.append(np.array([one.z for one in null]))
                done += len(left)
        scores = [replace(one, z=one.z - float(z)) for one, z in zip(scores, nulls[0], strict=True)]
        z = np.array([one.z for one in scores])
        return _best_first(scores), threshold(z, nulls[0] - nulls[1], CHOICE_FDR, len(candidates))

    def _refined(self, scores: Sequence[Score]) -> list[Score]:
        """Each candidate at the granularity that gains most."""
        finer = [
            replace(one.candidate, granularity=granularity)
            for one in scores
            for granularity in self._granularities(one.candidate)
        ]
        best: dict[tuple[str, ...], Score] = {one.candidate.fields: one for one in scores}
        if finer:
            with self.reporter.work("try granularities", len(finer), "crosses") as meter:
                for one in self.screen.scores(finer, self._residual(), meter=meter):
                    if one.gain > best[one.candidate.fields].gain:
                        best[one.candidate.fields] = one
        return list(best.values())

    def _granularities(self, candidate: Candidate) -> list[tuple[int | None, ...]]:
        fields = self.screen.fields
        choices: list[list[int | None]] = [[cut for cut, _ in fields[name].cuts] or [None] for name in candidate.fields]
        return [one for one in itertools.product(*choices) if one != candidate.granularity]

    def _choose(self, scores: Sequence[Score], least_z: float, found: Found) -> None:
        """Take the best, add it to the models, score the rest again, while the best stands out of the null.

        What does not lower the models' loss out of fold is passed over: its gain is there without it, too.
        """
        left, failed = list(scores), 0
        with self.reporter.work("choose crosses", None, "crosses") as meter:
            while left and len(found.chosen) < MOST_CHOSEN and failed < MOST_FAILED:
                best = _best_first(left)[0]
                left.remove(best)
                if best.gain <= 0.0 or best.z < least_z:
                    break
                if best.z - self._null_z(best) < least_z:
                    continue
                self._check_time()
                models = self._with(best.candidate)
                if self.models.loss_fall_to(models).low <= 0.0:
                    failed += 1
                    continue
                failed, self.models = 0, models
                found.chosen.append(best)
                meter.update(len(found.chosen))
                left = self.screen.scores([one.candidate for one in left if one.z >= least_z], self._residual())

    def _null_z(self, score: Score) -> float:
        """The greatest z that the candidate reaches with one of its members permuted, 0 at least."""
        residual, places = self._residual(), range(len(score.candidate.fields))
        return max(0.0, *(self.screen.scores([score.candidate], residual, null=0, moved=i)[0].z for i in places))

    def _extensions(self, ranked: Sequence[Score], found: Found) -> list[Candidate]:
        """The best pairs and those chosen, each with every other field."""
        fields = self.screen.fields
        parents = [*self.known, *(one.candidate for one in [*found.chosen, *ranked[:BEAM]])]
        triples: dict[tuple[str, ...], Candidate] = {}
        for parent in parents:
            for name in fields:
                if len(parent.fields) == 2 and name not in parent.fields and {name, *parent.fields} not in self._taken:
                    cut = {**dict(parent.named), name: fields[name].first_granularity}
                    names = tuple(one for one in fields if one in cut)
                    triples.setdefault(names, Candidate(names, tuple(cut[one] for one in names)))
        return list(triples.values())

    def _drop_parts_of_triples(self, found: Found) -> None:
        """Drop the pairs that a chosen triple made superfluous: without them, the loss does not rise for certain."""
        triples = [set(one.candidate.fields) for one in found.chosen if len(one.candidate.fields) > 2]
        first = len(self.screen.fields) + len(self.known)
        for score in list(reversed(found.chosen)):
            if any(set(score.candidate.fields) < triple for triple in triples):
                self._check_time()
                without = self.models.without_column(first + found.chosen.index(score))
                if without.loss_fall_to(self.models).low <= 0.0:
                    found.chosen.remove(score)
                    self.models = without


def _rungs(candidates: int, num_rows: int) -> list[tuple[int, int]]:
    """(candidates, rows) of each rung of the screening, the last with all rows."""
    rungs = [(candidates, max(min(num_rows, ROW_LIMIT // max(1, candidates)), min(num_rows, LEAST_ROWS)))]
    while rungs[-1][1] < num_rows:
        kept = max(1, int(rungs[-1][0] * KEPT_SHARE))
        rungs.append((kept, max(min(num_rows, ROW_LIMIT // kept), rungs[-1][1])))
        if kept == 1:
            rungs[-1] = (kept, num_rows)
    return rungs


def _best_first(scores: Sequence[Score]) -> list[Score]:
    return sorted(scores, key=lambda one: (-one.gain, one.candidate.fields))
