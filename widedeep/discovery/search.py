"""Chooses crosses: screens all pairs, takes the best, scores the rest again, and goes on to triples."""

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
from widedeep.workers.shelf import Shelf

ROW_LIMIT = 600_000_000
"""Rows times candidates in one rung of the screening. With more, candidates are first scored on fewer rows."""
LEAST_ROWS = 20_000
"""Least number of rows of a rung."""
KEPT_SHARE = 0.25
"""Share of a rung's candidates that go on to the next rung."""
MOST_REFINED = 200
"""Number of best pairs that are tried at other granularities and are scored again after each choice."""
BEAM = 60
"""Number of best pairs that are extended to triples."""
MOST_CHOSEN = 40
"""At most this many crosses are chosen."""
MOST_FAILED = 5
"""The choice ends when this many candidates in a row do not lower the loss."""
CHOICE_FDR = 0.05
"""False discovery rate of the choice; the proof has its own."""


@dataclass
class SearchResult:
    """The result of a search."""

    chosen: list[Score] = field(default_factory=list)
    """The chosen crosses in order; each score is on top of the crosses before it."""
    pairs: int = 0
    """Number of pairs screened."""
    triples: int = 0
    """Number of triples screened."""
    stopped_in: str = ""
    """The stage in which the budget ended the search; empty if the search is complete."""


class Search:
    """A search for crosses on the rows of the choice."""

    def __init__(
        self,
        data: TrainRows,
        offset: Floats | None,
        deadline: float,
        reporter: Reporter,
        known: Sequence[Candidate] = (),
        shelf: Shelf | None = None,
    ) -> None:
        """`offset` [N]: a trained run's logits of the rows. `known`: crosses that the recipe has already.

        `deadline` is in seconds of the monotonic clock. With `shelf`, its workers score and fit.
        """
        self._shelf = shelf
        self.known, self.reporter, self.deadline = known, reporter, deadline
        self.screen = Screen(data.fields, np.flatnonzero(~data.proof), deadline, shelf)
        rows = self.screen.rows
        self._target = data.target.gather(rows)
        self._offset = None if offset is None else offset[rows]
        self._taken = {frozenset(candidate.fields) for candidate in known}

    def run(self) -> SearchResult:
        """Search until no candidate stands out from the null, or the time is up."""
        result = SearchResult()
        try:
            result.stopped_in = "the fit of main effects"
            with self.reporter.work("fit main effects", None, "fits"):
                columns = [cross_field.column() for cross_field in self.screen.fields.values()]
                self.models = FoldModels(columns, self._target, self._offset, self._shelf)
                for candidate in self.known:
                    self._check_time()
                    self.models = self._with(candidate)
            result.stopped_in = "the screening of pairs"
            pairs = self._pairs()
            ranked, least_z = self._screened(pairs, "screen pairs")
            result.pairs = len(pairs)
            result.stopped_in = "the choice among pairs"
            significant = [score for score in ranked if score.z >= least_z][:MOST_REFINED]
            self._choose(self._refined(significant), least_z, result)
            result.stopped_in = "the screening of triples"
            triples = self._extensions(ranked, result)
            ranked, least_z = self._screened(triples, "screen triples")
            result.triples = len(triples)
            result.stopped_in = "the choice among triples"
            self._choose([score for score in ranked if score.z >= least_z][:MOST_REFINED], least_z, result)
            self._drop_parts_of_triples(result)
        except OutOfTime:
            return result
        result.stopped_in = ""
        return result

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
        """The scores of the last rung, best first, each z less the z of its null; and the least z that is significant.

        The null of a candidate is its score with one member's rows permuted. Effects of the other members that the
        residual still holds, such as those of a pair within a triple, are the same in both. The difference of two
        permutations shows how much two such scores differ by chance.

        Screening is successive halving (Jamieson and Talwalkar 2016): if candidates are too many to score on all rows,
        they are first scored on fewer rows, and the better part goes on to more.
        """
        if not candidates:
            return [], np.inf
        residual, rungs = self._residual(), _rungs(len(candidates), len(self.screen.rows))
        total = sum(count for count, _ in rungs) + NULLS * rungs[-1][0]
        left, done = list(candidates), 0
        with self.reporter.work(title, total, "crosses") as meter:
            for (_, rows), (kept, _) in itertools.pairwise(rungs):
                scores = self.screen.scores(left, residual, limit=rows, meter=meter, done_before=done)
                done += len(left)
                left = [score.candidate for score in _best_first(scores)[:kept]]
            scores, null_scores = self.screen.scores_and_nulls(left, residual, meter, done)
        nulls = [np.array([score.z for score in null]) for null in null_scores]
        scores = [replace(score, z=score.z - float(z)) for score, z in zip(scores, nulls[0], strict=True)]
        z = np.array([score.z for score in scores])
        return _best_first(scores), threshold(z, nulls[0] - nulls[1], CHOICE_FDR, len(candidates))

    def _refined(self, scores: Sequence[Score]) -> list[Score]:
        """Each candidate at the granularity with the greatest gain."""
        finer = [
            replace(score.candidate, granularity=granularity)
            for score in scores
            for granularity in self._granularities(score.candidate)
        ]
        best: dict[tuple[str, ...], Score] = {score.candidate.fields: score for score in scores}
        if finer:
            with self.reporter.work("try granularities", len(finer), "crosses") as meter:
                for score in self.screen.scores(finer, self._residual(), meter=meter):
                    if score.gain > best[score.candidate.fields].gain:
                        best[score.candidate.fields] = score
        return list(best.values())

    def _granularities(self, candidate: Candidate) -> list[tuple[int | None, ...]]:
        fields = self.screen.fields
        choices: list[list[int | None]] = [[cut for cut, _ in fields[name].cuts] or [None] for name in candidate.fields]
        return [cuts for cuts in itertools.product(*choices) if cuts != candidate.granularity]

    def _choose(self, scores: Sequence[Score], least_z: float, result: SearchResult) -> None:
        """Add the best candidate to the models and score the rest again, as long as the best stands out from the null.

        A candidate that does not lower the models' loss out of fold is passed over: the models have its gain already.
        """
        left, failed = list(scores), 0
        with self.reporter.work("choose crosses", None, "crosses") as meter:
            while left and len(result.chosen) < MOST_CHOSEN and failed < MOST_FAILED:
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
                result.chosen.append(best)
                meter.update(len(result.chosen))
                left = self.screen.scores([score.candidate for score in left if score.z >= least_z], self._residual())

    def _null_z(self, score: Score) -> float:
        """The greatest z of the candidate with one of its members permuted, at least 0."""
        residual, members = self._residual(), range(len(score.candidate.fields))
        return max(0.0, *(self.screen.scores([score.candidate], residual, null=0, moved=i)[0].z for i in members))

    def _extensions(self, ranked: Sequence[Score], result: SearchResult) -> list[Candidate]:
        """Triples: known pairs, chosen pairs and the best pairs, each with every other field."""
        fields = self.screen.fields
        parents = [*self.known, *(score.candidate for score in [*result.chosen, *ranked[:BEAM]])]
        triples: dict[tuple[str, ...], Candidate] = {}
        for parent in parents:
            for name in fields:
                if len(parent.fields) == 2 and name not in parent.fields and {name, *parent.fields} not in self._taken:
                    cut = {**dict(parent.named), name: fields[name].first_granularity}
                    names = tuple(member for member in fields if member in cut)
                    triples.setdefault(names, Candidate(names, tuple(cut[member] for member in names)))
        return list(triples.values())

    def _drop_parts_of_triples(self, result: SearchResult) -> None:
        """Drop pairs that a chosen triple made superfluous: without them, the loss does not rise for certain."""
        triples = [set(score.candidate.fields) for score in result.chosen if len(score.candidate.fields) > 2]
        first = len(self.screen.fields) + len(self.known)
        for score in list(reversed(result.chosen)):
            if any(set(score.candidate.fields) < triple for triple in triples):
                self._check_time()
                without = self.models.without_column(first + result.chosen.index(score))
                if without.loss_fall_to(self.models).low <= 0.0:
                    result.chosen.remove(score)
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
    return sorted(scores, key=lambda score: (-score.gain, score.candidate.fields))
