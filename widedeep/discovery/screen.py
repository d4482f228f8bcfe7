"""Scores candidate crosses on the residuals of a model."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from widedeep.discovery.cells import in_order, joined, leave_one_out, sorted_by_code
from widedeep.discovery.fields import Codes, CrossField, expanded
from widedeep.lists import Lists
from widedeep.memory.additive import Target
from widedeep.memory.columns import Floats
from widedeep.ordered import in_threads
from widedeep.reporting import Meter
from widedeep.workers.shelf import Shelf, taken

PENALTIES = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
"""Shrinkages that are tried; the one with the greatest gain is taken."""
_CANDIDATES_TOGETHER = 16
"""A worker scores so many candidates at a time; fewer than that, this process scores itself."""
NULLS = 2
"""Number of permutations of a member's rows, each of which gives a null score."""


@dataclass(frozen=True, order=True)
class Candidate:
    """A cross that may be chosen: its fields in order, and the granularity of those that are numbers (else None)."""

    fields: tuple[str, ...]
    granularity: tuple[int | None, ...]

    def members(self, fields: Mapping[str, CrossField]) -> list[CrossField]:
        """Its fields, with numbers cut at its granularity."""
        return [fields[name].at(cut) for name, cut in self.named]

    @property
    def named(self) -> tuple[tuple[str, int | None], ...]:
        """(field, granularity) of each member."""
        return tuple(zip(self.fields, self.granularity, strict=True))


_Members = tuple[tuple[str, int | None], ...]
_Groups = Sequence[tuple[_Members, list[Candidate]]]


@dataclass(frozen=True)
class Score:
    """The score of a candidate on the rows of the choice."""

    candidate: Candidate
    gain: float
    """Fall of the log loss per row with leave-one-out values."""
    z: float
    """Number of deviations by which `leave_one_out`'s score exceeds its mean without an effect."""
    penalty: float
    """The shrinkage with the greatest gain."""
    two_row_z: float
    """z of combinations that two rows have: it tells whether a value from a single other row is worth anything."""


_Scores = dict[tuple[Candidate, int | None], Score]
"""Candidate and order → score."""


@dataclass(frozen=True)
class Residual:
    """Residual and curvature of the rows of the choice at the present model, [n] each."""

    residual: Floats
    curvature: Floats

    @classmethod
    def at(cls, target: Target, logit: Floats) -> "Residual":
        """Residual and curvature at the rows' logits [n]."""
        rows = target.at(logit)
        residual = rows.residual
        if target.kind == "regression":
            # In units of the noise, gains are log likelihoods.
            noise = np.float32(max(float(np.square(residual, dtype=np.float64).mean()), 1e-12))
            residual /= np.sqrt(noise)
        return cls(residual, rows.curvature)


class OutOfTime(Exception):
    """The budget is spent."""


class Screen:
    """Scores candidate crosses of some fields on some rows, on several threads or by workers."""

    def __init__(
        self, fields: Sequence[CrossField], rows: NDArray[np.int64], deadline: float, shelf: Shelf | None = None
    ) -> None:
        """`rows` [n]: numbers of the rows of the choice. `deadline` is in seconds of the monotonic clock.

        Workers, those of `shelf`, are asked for scores if there are any. They give the same.
        """
        self.deadline, self._shelf = deadline, shelf
        draw = np.random.Generator(np.random.Philox(len(rows)))
        self.rows = draw.permutation(rows)
        """The rows in random order, so that the first rows are a random sample."""
        # Permuting a member's rows removes its relation to the label and to other fields.
        self._orders = [draw.permutation(len(rows)) for _ in range(NULLS)]
        self.fields = {field.name: field.gather(self.rows) for field in fields}
        self._cut: dict[tuple[str, int | None, int | None], CrossField] = {}
        self._shelved: dict[tuple[str, int | None, int | None], Path] = {}

    def first_cut(self, names: Sequence[str]) -> Candidate:
        """The candidate of these fields at the granularity that pairs are screened with."""
        return Candidate(tuple(names), tuple(self.fields[name].first_granularity for name in names))

    def scores(
        self,
        candidates: Sequence[Candidate],
        residual: Residual,
        *,
        null: int | None = None,
        moved: int | None = None,
        limit: int | None = None,
        meter: Meter | None = None,
        done_before: int = 0,
    ) -> list[Score]:
        """Scores in the order of the candidates, on the first `limit` rows.

        With `null`, below NULLS, the rows of one member are permuted by the permutation of that number. The member is
        the one at position `moved`, or by default the right one (see `_groups`). Raises OutOfTime at the deadline.
        """
        (scores,) = self._scores(candidates, residual, [null], moved, limit, meter, done_before)
        return scores

    def scores_and_nulls(
        self, candidates: Sequence[Candidate], residual: Residual, meter: Meter, done_before: int
    ) -> tuple[list[Score], list[list[Score]]]:
        """Scores on all rows, and those with each permutation of the default member's rows."""
        scores, *nulls = self._scores(candidates, residual, [None, *range(NULLS)], None, None, meter, done_before)
        return scores, nulls

    def _scores(
        self,
        candidates: Sequence[Candidate],
        residual: Residual,
        orders: Sequence[int | None],
        moved: int | None,
        limit: int | None,
        meter: Meter | None,
        done_before: int,
    ) -> list[list[Score]]:
        """The scores with each of the `orders` of the right member's rows, None being their own."""
        # The longest group first, so that no thread is left with it at the end.
        groups = sorted(self._groups(candidates, moved).items(), key=lambda group: -len(group[1]))
        if self._shelf is not None and len(candidates) >= _CANDIDATES_TOGETHER:
            found = self._scores_of_workers(self._shelf, groups, residual, orders, limit, meter, done_before)
        else:
            found = self._scores_of_threads(groups, residual, orders, limit, meter, done_before)
        if len(found) < len(orders) * len(set(candidates)):
            raise OutOfTime
        return [[found[candidate, order] for candidate in candidates] for order in orders]

    def _scores_of_threads(
        self,
        groups: _Groups,
        residual: Residual,
        orders: Sequence[int | None],
        limit: int | None,
        meter: Meter | None,
        done_before: int,
    ) -> _Scores:
        """The scores that were found before the deadline."""
        found: _Scores = {}
        candidates = [candidate for _, members in groups for candidate in members]
        for candidate in candidates:
            for member in candidate.named:
                for order in {None, *orders}:
                    self._member(*member, order)

        def score(group: tuple[_Members, list[Candidate]]) -> None:
            left, members = group
            runs = _Runs.of([self._member(*member) for member in left], residual, limit)
            for candidate in members:
                (right,) = set(candidate.named) - set(left)
                for order in orders:
                    if monotonic() > self.deadline:
                        return
                    found[candidate, order] = runs.score(candidate, self._member(*right, order))
                    if meter is not None:
                        meter.update(done_before + len(found))

        in_threads(score, groups)
        return found

    def _scores_of_workers(
        self,
        shelf: Shelf,
        groups: _Groups,
        residual: Residual,
        orders: Sequence[int | None],
        limit: int | None,
        meter: Meter | None,
        done_before: int,
    ) -> _Scores:
        """The scores that came back before the deadline."""
        found: _Scores = {}

        def of_group(left: _Members, members: list[Candidate]) -> _GroupTask:
            rights = [next(iter(set(candidate.named) - set(left))) for candidate in members]
            return _GroupTask(
                tuple(self._on_shelf(shelf, *member) for member in left),
                tuple(members),
                tuple(tuple(self._on_shelf(shelf, *right, order) for order in orders) for right in rights),
            )

        with shelf.holding(residual) as path:
            tasks = [
                _ScoreTask(path, limit, tuple(of_group(left, members) for left, members in together))
                for together in _cut_groups(groups)
            ]
            for number, of_task in shelf.workers.map(_score_groups, tasks):
                members = [candidate for group in tasks[number].groups for candidate in group.candidates]
                for candidate, of_orders in zip(members, of_task, strict=True):
                    found.update({(candidate, order): score for order, score in zip(orders, of_orders, strict=True)})
                if meter is not None:
                    meter.update(done_before + len(found))
                if monotonic() > self.deadline:
                    break
        return found

    def _on_shelf(self, shelf: Shelf, name: str, granularity: int | None, order: int | None = None) -> Path:
        key = (name, granularity, order)
        if key not in self._shelved:
            self._shelved[key] = shelf.put(self._member(*key))
        return self._shelved[key]

    def _groups(self, candidates: Sequence[Candidate], moved: int | None) -> dict[_Members, list[Candidate]]:
        """Candidates grouped by all their members but one, the right member. Rows are then sorted once for each group.

        The right member is chosen so that most candidates share the others. Of several such members it is the one with
        the fewest values, because its cells then fit into the nearest cache.
        """
        shared = Counter(
            left for candidate in candidates if len(candidate.fields) > 2 for left, _ in _splits(candidate)
        )
        groups: dict[_Members, list[Candidate]] = {}
        for candidate in candidates:
            splits = _splits(candidate)
            if moved is None:
                left, _ = min(splits, key=lambda split: (-shared[split[0]], self._member(*split[1]).size))
            else:
                left, _ = splits[moved]
            groups.setdefault(left, []).append(candidate)
        return groups

    def _member(self, name: str, granularity: int | None, order: int | None = None) -> CrossField:
        key = (name, granularity, order)
        if key not in self._cut:
            field = self.fields[name].at(granularity)
            self._cut[key] = field if order is None else field.gather(self._orders[order])
        return self._cut[key]


def _splits(candidate: Candidate) -> list[tuple[_Members, tuple[str, int | None]]]:
    """(left members, right member) for each member in turn as the right one."""
    named = candidate.named
    return [(tuple(member for member in named if member != right), right) for right in named]


def _cut_groups(groups: _Groups) -> Iterator[_Groups]:
    """The groups in pieces with _CANDIDATES_TOGETHER candidates, long ones cut, short ones together."""
    together: list[tuple[_Members, list[Candidate]]] = []
    room = _CANDIDATES_TOGETHER
    for left, members in groups:
        start = 0
        while start < len(members):
            piece = members[start : start + room]
            together.append((left, piece))
            start, room = start + len(piece), room - len(piece)
            if room == 0:
                yield together
                together, room = [], _CANDIDATES_TOGETHER
    if together:
        yield together


class _Runs:
    """Rows sorted by their combination of some members, with residuals."""

    def __init__(self, rows: Codes, starts: NDArray[np.int64], residual: Residual, num_rows: int) -> None:
        self.rows, self.starts, self.num_rows = rows, starts, num_rows
        self.residual, self.curvature = in_order(rows, residual.residual), in_order(rows, residual.curvature)

    @classmethod
    def of(cls, members: Sequence[CrossField], residual: Residual, limit: int | None) -> "_Runs":
        rows, codes = expanded(members)
        left, size = codes[0], members[0].size
        for more, member in zip(codes[1:], members[1:], strict=True):
            left, size = joined(left, size, more, member.size)
        if rows is None:
            rows = np.arange(len(left))
        num_rows = len(residual.residual) if limit is None else limit
        if limit is not None:
            left, rows = left[rows < limit], rows[rows < limit]
        ordered, starts = sorted_by_code(left, rows.astype(np.int32), size)
        return cls(ordered, starts, residual, num_rows)

    def score(self, candidate: Candidate, right: CrossField) -> Score:
        result = leave_one_out(
            self.rows,
            self.starts,
            right.codes.values if isinstance(right.codes, Lists) else right.codes,
            right.codes.bounds if isinstance(right.codes, Lists) else _NO_LISTS,
            right.size,
            self.residual,
            self.curvature,
            PENALTIES,
        )
        gain, score, variance, twos, twos_variance = result[int(result[:, 0].argmax())]
        return Score(
            candidate,
            gain=float(gain) / self.num_rows,
            z=float(score / np.sqrt(variance)) if variance > 0 else 0.0,
            penalty=float(PENALTIES[int(result[:, 0].argmax())]),
            two_row_z=float(twos / np.sqrt(twos_variance)) if twos_variance > 0 else 0.0,
        )


_NO_LISTS = np.empty(0, dtype=np.int64)


# ------------------------------------------------------------------------------------------------- what a worker does


@dataclass(frozen=True)
class _GroupTask:
    """Candidates that share all members but one. Members are files of a shelf."""

    left: tuple[Path, ...]
    candidates: tuple[Candidate, ...]
    rights: tuple[tuple[Path, ...], ...]
    """For each candidate the right member, with its rows in each order."""


@dataclass(frozen=True)
class _ScoreTask:
    residual: Path
    limit: int | None
    groups: tuple[_GroupTask, ...]


def _score_groups(task: _ScoreTask) -> list[list[Score]]:
    """The scores of each candidate, one for each order."""
    residual: Residual = taken(task.residual)
    scores = []
    for group in task.groups:
        runs = _Runs.of([taken(path) for path in group.left], residual, task.limit)
        for candidate, rights in zip(group.candidates, group.rights, strict=True):
            scores.append([runs.score(candidate, taken(path)) for path in rights])
    return scores
