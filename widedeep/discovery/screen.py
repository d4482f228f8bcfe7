"""Scoring candidate crosses on the residual of what the model knows already."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from widedeep.discovery.cells import leave_one_out, runs_of
from widedeep.discovery.fields import Codes, CrossField, expanded
from widedeep.lists import Lists
from widedeep.memory.additive import Target
from widedeep.memory.columns import Floats
from widedeep.ordered import in_threads
from widedeep.reporting import Meter

PENALTIES = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
"""Shrinkages that are tried; the one of the greatest gain is taken."""
NULLS = 2
"""Orders in which a member's rows can change places."""


@dataclass(frozen=True, order=True)
class Candidate:
    """A cross that may be chosen: names of fields in order, and the granularity of those that are numbers."""

    fields: tuple[str, ...]
    granularity: tuple[int | None, ...]

    def members(self, fields: Mapping[str, CrossField]) -> list[CrossField]:
        """Its fields, numbers cut."""
        return [fields[name].at(cut) for name, cut in self.named]

    @property
    def named(self) -> tuple[tuple[str, int | None], ...]:
        """Its members."""
        return tuple(zip(self.fields, self.granularity, strict=True))


_Members = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Score:
    """What the rows of the choice say of a candidate."""

    candidate: Candidate
    gain: float
    """Fall of the log loss per row, by leave-one-out values."""
    z: float
    """Deviations of the score above its null mean, see `leave_one_out`."""
    penalty: float
    """The shrinkage of the greatest gain."""
    twos_z: float
    """z of the combinations in two rows alone: whether a value from a single other row is worth anything."""


@dataclass(frozen=True)
class Residual:
    """The rows of the choice at the present model: [n] each."""

    residual: Floats
    curvature: Floats

    @classmethod
    def at(cls, target: Target, logit: Floats) -> "Residual":
        """At the rows' logits [n]."""
        rows = target.at(logit)
        residual = rows.residual
        if target.kind == "regression":
            # In units of the noise: gains are then log likelihoods.
            noise = np.float32(max(float(np.square(residual, dtype=np.float64).mean()), 1e-12))
            residual /= np.sqrt(noise)
        return cls(residual, rows.curvature)


class OutOfTime(Exception):
    """The budget is spent."""


class Screen:
    """Scores candidates of some fields on some rows, with threads."""

    def __init__(self, fields: Sequence[CrossField], rows: NDArray[np.int64], deadline: float) -> None:
        """`rows` [n] numbers the rows of the choice; `deadline` is in seconds of the monotonic clock."""
        self.deadline = deadline
        draw = np.random.Generator(np.random.Philox(len(rows)))
        self.rows = draw.permutation(rows)
        """The rows in the order in which scores are taken: the first ones are a random sample."""
        # One order of rows for all partners: what a partner has to do with the label and with other fields is gone.
        self._orders = [draw.permutation(len(rows)) for _ in range(NULLS)]
        self.fields = {field.name: field.taken(self.rows) for field in fields}
        self._cut: dict[tuple[str, int | None, int | None], CrossField] = {}

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

        With `null`, below NULLS, one member's rows change places, in the order of that number: the member at place
        `moved`, or else the one that the rest was sorted without. Raises OutOfTime at the deadline.
        """
        found: dict[Candidate, Score] = {}
        for candidate in candidates:
            for one in candidate.named:
                for order in {None, null}:
                    self._member(*one, order)

        def score(group: tuple[_Members, list[Candidate]]) -> None:
            left, members = group
            runs = _Runs.of([self._member(*one) for one in left], residual, limit)
            for candidate in members:
                if monotonic() > self.deadline:
                    return
                (right,) = set(candidate.named) - set(left)
                found[candidate] = runs.score(candidate, self._member(*right, null))
                if meter is not None:
                    meter.update(done_before + len(found))

        in_threads(score, self._groups(candidates, moved).items())
        if len(found) < len(set(candidates)):
            raise OutOfTime
        return [found[one] for one in candidates]

    def _groups(self, candidates: Sequence[Candidate], moved: int | None) -> dict[_Members, list[Candidate]]:
        """Candidates by all members but one, the right one: the rows are sorted once for a group.

        It is the one that leaves the members that most candidates share; among those, the one with the fewest values,
        whose cells then fit into the nearest cache.
        """
        shared = Counter(left for one in candidates if len(one.fields) > 2 for left, _ in _parted(one))
        groups: dict[_Members, list[Candidate]] = {}
        for candidate in candidates:
            ways = _parted(candidate)
            if moved is None:
                left, _ = min(ways, key=lambda way: (-shared[way[0]], self._member(*way[1]).size))
            else:
                left, _ = ways[moved]
            groups.setdefault(left, []).append(candidate)
        return groups

    def _member(self, name: str, granularity: int | None, order: int | None = None) -> CrossField:
        key = (name, granularity, order)
        if key not in self._cut:
            field = self.fields[name].at(granularity)
            self._cut[key] = field if order is None else field.taken(self._orders[order])
        return self._cut[key]


def _parted(candidate: Candidate) -> list[tuple[_Members, tuple[str, int | None]]]:
    """Each member in turn, as the right one behind the others."""
    named = candidate.named
    return [(tuple(one for one in named if one != right), right) for right in named]


class _Runs:
    """The rows in order of their combination of some members, at a residual."""

    def __init__(self, rows: Codes, starts: NDArray[np.int64], residual: Residual, num_rows: int) -> None:
        self.rows, self.starts, self.residual, self.num_rows = rows, starts, residual, num_rows

    @classmethod
    def of(cls, members: Sequence[CrossField], residual: Residual, limit: int | None) -> "_Runs":
        rows, codes = expanded(members)
        left, size = codes[0], members[0].size
        for more, member in zip(codes[1:], members[1:], strict=True):
            left, size = joined(left, more, member.size)
        if rows is None:
            rows = np.arange(len(left))
        num_rows = len(residual.residual) if limit is None else limit
        if limit is not None:
            left, rows = left[rows < limit], rows[rows < limit]
        ordered, starts = runs_of(left, rows.astype(np.int32), size)
        return cls(ordered, starts, residual, num_rows)

    def score(self, candidate: Candidate, right: CrossField) -> Score:
        result = leave_one_out(
            self.rows,
            self.starts,
            right.codes.values if isinstance(right.codes, Lists) else right.codes,
            right.codes.bounds if isinstance(right.codes, Lists) else _NO_LISTS,
            right.size,
            self.residual.residual,
            self.residual.curvature,
            PENALTIES,
        )
        gain, score, variance, twos, twos_variance = result[int(result[:, 0].argmax())]
        return Score(
            candidate,
            gain=float(gain) / self.num_rows,
            z=float(score / np.sqrt(variance)) if variance > 0 else 0.0,
            penalty=float(PENALTIES[int(result[:, 0].argmax())]),
            twos_z=float(twos / np.sqrt(twos_variance)) if twos_variance > 0 else 0.0,
        )


_NO_LISTS = np.empty(0, dtype=np.int64)


def joined(left: Codes, right: Codes, right_size: int) -> tuple[Codes, int]:
    """One code for a pair of codes, and the number of codes; -1 where a code is negative."""
    pair = left.astype(np.int64) * right_size + right
    pair[(left < 0) | (right < 0)] = -1
    values, codes = np.unique(pair, return_inverse=True)
    absent = int(len(values) > 0 and values[0] < 0)
    return (codes - absent).astype(np.int32), len(values) - absent
