"""Judges scored rows against what a run's own rows looked like, and against an earlier report: limits, breaches."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widedeep.errors import ArtefactError, RefusedError, UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.files import write_text
from widedeep.recipe.checks import why_no_limit
from widedeep.recipe.kinds import FIELD_MEASURES
from widedeep.recipe.schema import CategoricalField, NumericField, Recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory, read_json_artefact, require_shape
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import (
    FIELD_SHAPE,
    NUMBER_CELLS,
    SCORES_SHAPE,
    Binned,
    FieldTally,
    Tally,
    fields_of,
    num_bins,
)

GUARD_FORMAT = 1
"""Format version of `reference.json` and of reports; those of a newer one are refused."""
LOOK_SHAPE = {"fields": {str: FIELD_SHAPE}, "scores": (SCORES_SHAPE, None)}
REFERENCE_SHAPE = {"format": int, "train": LOOK_SHAPE, "valid": (LOOK_SHAPE, None), "expected_unseen": {str: float}}
REPORT_SHAPE = {"format": int, "plan": str, "digest": str, "rows": int, **LOOK_SHAPE}

_SIGMAS = 4.0
_LOG_CHANCE = math.log(1e5)
"""How sure a breach must be: hundreds of fields are judged every night, and none may be told by chance."""
_NUMBER_BINS = 32
_BY_NATURE = 2.0
"""How many times as far as valid lies from train a field may move: what differs by its nature goes on to differ."""
_MOST_TOLD = 6
_LEAST_REPEATED = 20
"""Fewer rows may well be the same as yesterday's."""

Limit = float | None


@dataclass(frozen=True)
class GuardOptions:
    """What a caller asks of the guard, beyond what the recipe says."""

    warn: Mapping[str, Limit] = field(default_factory=dict)
    refuse: Mapping[str, Limit] = field(default_factory=dict)
    """`MEASURE` or `FIELD.MEASURE` → limit, in place of the recipe's; None for no limit."""
    report: Path | None = None
    """Where to write all counts, as JSON."""
    against: Path | None = None
    """An earlier report."""
    force: bool = False
    """Whether rows past a refusal limit are scored all the same."""


@dataclass(frozen=True)
class Breach:
    """A limit that the rows are past, surely."""

    field: str | None
    """None for the scores."""
    measure: str
    value: float
    """The rows' rate, or the shift."""
    usual: float
    """The rate that it is held against; 0 for a shift."""
    limit: float
    refused: bool

    def __str__(self) -> str:
        named = self.field or "scores"
        if self.measure in ("missing", "unseen"):
            return f"{named} {self.value:.1%} {self.measure} (usual: {self.usual:.1%})"
        return f"{named} shifted by {self.value:.2f}"

    def to_json(self) -> dict[str, Any]:
        """The breach as plain values."""
        return vars(self)


@dataclass(frozen=True)
class Look:
    """What some rows looked like: counts by field, and their scores by cell where they were scored."""

    fields: Mapping[str, FieldTally]
    scores: Binned | None

    @classmethod
    def of_json(cls, content: Mapping[str, Any], plan: FeaturePlan, path: Path) -> "Look":
        """Read the counts of all fields of the plan. Raises ArtefactError."""
        try:
            fields = {
                name: FieldTally.of_json(content["fields"][name], num_bins(is_number=is_number))
                for name, is_number in fields_of(plan).items()
            }
            scores = content["scores"]
            return cls(fields, None if scores is None else Binned.of_json(scores["binned"], NUMBER_CELLS))
        except (KeyError, ValueError, OverflowError) as error:
            raise ArtefactError(f"{path}: no counts of this run's fields ({error}): it is damaged") from error


@dataclass(frozen=True)
class Shift:
    """Jensen-Shannon divergence of two distributions, in bits: from 0 (equal) to 1 (no value in common).

    Unlike the population stability index it is finite where a bin is empty, and has a largest value, so that one limit
    serves fields of two values and of a million.
    """

    value: float
    """Less what chance adds on average."""
    low: float
    """What it surely is at least."""


def shift_of(usual: Binned, now: Binned) -> Shift:
    """How far the rows of `now` lie from `usual`. Where either has no rows, there is no shift."""
    before, after = usual.counts, now.counts
    if not (before.sum() and after.sum() and usual.rows and now.rows):
        return Shift(0.0, 0.0)
    if len(before) == NUMBER_CELLS:
        before, after = _merged(before, after)
    held = (before + after) > 0
    p, q = before[held] / before.sum(), after[held] / after.sum()
    middle = (p + q) / 2
    terms = [_ratios(p, middle), _ratios(q, middle)]
    divergence = sum(float((share * term).sum()) for share, term in zip((p, q), terms, strict=True))
    # Of equal distributions, 8 ln 2 / (1/n + 1/m) times the divergence is chi-squared; Laurent and Massart (2000),
    # lemma 1, bound it for any number of bins.
    freedom, unit = int(held.sum()) - 1, (1 / usual.rows + 1 / now.rows) / (8 * math.log(2))
    by_chance = freedom + 2 * math.sqrt(freedom * _LOG_CHANCE) + 2 * _LOG_CHANCE
    spread = math.sqrt(
        sum(
            max(0.0, float((share * term**2).sum() - (share * term).sum() ** 2)) / rows
            for share, term, rows in zip((p, q), terms, (usual.rows, now.rows), strict=True)
        )
    )
    return Shift(max(0.0, divergence - unit * freedom), divergence - unit * by_chance - _SIGMAS * spread)


def _ratios(share: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * np.log2(np.where(share > 0, share, middle) / middle)


def _merged(before: NDArray[np.int64], after: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells of numbers joined to bins that hold about equally many of the usual numbers."""
    ranks = (np.cumsum(before) - before / 2) / before.sum()
    bins = np.minimum((ranks * _NUMBER_BINS).astype(np.int64), _NUMBER_BINS - 1)
    joined = [np.bincount(bins, weights=counts, minlength=_NUMBER_BINS).astype(np.int64) for counts in (before, after)]
    return joined[0], joined[1]


def rate_bounds(number: int, rows: int) -> tuple[float, float]:
    """Where the rate behind `number` of `rows` surely lies: Wilson's interval of four standard errors."""
    if not rows:
        return 0.0, 1.0
    share, square = number / rows, _SIGMAS**2 / rows
    half = _SIGMAS * math.sqrt(share * (1 - share) / rows + square / (4 * rows))
    low, high = ((share + square / 2 + sign * half) / (1 + square) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


class Guard:
    """Holds rows that are scored against the rows of the run's own, and says what lies past a limit."""

    def __init__(self, scorer: Scorer, run: Path, options: GuardOptions, file: Path | None = None) -> None:
        """Read the reference and the earlier report. What is told names `file`, if one of several is judged.

        Raises UsageError for limits of no field, or of a run without a reference; ArtefactError for a damaged file.
        """
        self.tally = Tally(scorer.plan)
        self._plan, self._run, self._options = scorer.plan, run, options
        self._limits = _Limits.of(scorer, options)
        self._place = "" if file is None else f"{file}: "
        self._train, self._usual, self._scored = _read_reference(RunDirectory(run).reference_path, scorer.plan)
        if self._usual is None and (options.warn or options.refuse):
            raise UsageError(
                f"--limit, --warn: {run} keeps no reference to hold new rows against, as an older widedeep trained it: "
                "train it again, or leave them out"
            )
        self._against = None if options.against is None else _read_report(options.against, scorer.plan)

    def finish(self, reporter: Reporter, sent: Callable[[], int] = lambda: 0) -> list[Breach]:
        """Judge all rows; write the report, and tell `reporter` in one line what lies past a limit.

        `sent` gives how many scores have gone where they cannot be taken back. Raises RefusedError if a limit of
        refusal is passed, unless `force`; WriteError.
        """
        self.tally.settle()
        breaches = [] if self._usual is None else self._breaches(self._usual)
        refused = [breach for breach in breaches if breach.refused]
        repeated, since = self._since()
        if self._options.report is not None:
            self._write_report(self._options.report, breaches, repeated, since)
        if self._usual is None and self._options.report is not None:
            reporter.note(f"{self._run}: an older widedeep trained it: it has no reference, and nothing was judged")
        if refused and not self._options.force:
            gone = sent()
            state = f"{gone:,} scores were sent already" if gone else "nothing was written"
            raise RefusedError(
                f"{self._place}{_told(refused)}: such rows the model does not know, and {state}: mend the rows, or "
                "train again; --force scores them all the same, --limit FIELD.MEASURE=SHARE moves the limit",
                [breach.to_json() for breach in breaches],
            )
        if breaches:
            reporter.warn(f"{self._place}the rows are not such as the model was trained on: {_told(breaches)}")
        if repeated:
            reporter.warn(f"all {self.tally.rows:,} scores are those of {self._options.against}: the same rows again")
        elif since:
            reporter.warn(f"the rows differ from those of {self._options.against}: {_told(since)}")
        return breaches

    def _breaches(self, usual: Look) -> list[Breach]:
        breaches = []
        for name, now in self.tally.fields.items():
            before = usual.fields[name]
            natural = self._natural(name)
            breaches += self._of_field(name, before, now, natural)
        if usual.scores is not None:
            breaches += self._of_scores(usual.scores)
        return sorted(breaches, key=lambda breach: (not breach.refused, breach.usual - breach.value))

    def _natural(self, name: str) -> dict[str, float]:
        """By how much the field's valid rows differ from its train rows, for each measure."""
        if self._usual is None or self._train is None or self._train is self._usual:
            return dict.fromkeys(FIELD_MEASURES, 0.0)
        train, valid = self._train.fields[name], self._usual.fields[name]
        rises = {measure: max(0.0, valid.rate(measure) - train.rate(measure)) for measure in ("missing", "unseen")}
        return {**rises, "shift": _BY_NATURE * shift_of(train.binned, valid.binned).value}

    def _of_field(
        self, name: str, before: FieldTally, now: FieldTally, natural: Mapping[str, float], *, refusing: bool = True
    ) -> list[Breach]:
        breaches = []
        for measure in ("missing", "unseen"):
            low, _ = rate_bounds(getattr(now, measure), now.rows)
            _, high = rate_bounds(getattr(before, measure), before.rows)
            judged = self._limits.judge(name, measure, low - high - natural[measure], refusing=refusing)
            if judged is not None:
                breaches.append(Breach(name, measure, now.rate(measure), before.rate(measure), *judged))
        shift = shift_of(before.binned, now.binned)
        if (judged := self._limits.judge(name, "shift", shift.low - natural["shift"], refusing=refusing)) is not None:
            breaches.append(Breach(name, "shift", shift.value, 0.0, *judged))
        return breaches

    def _of_scores(self, before: Binned, *, refusing: bool = True) -> list[Breach]:
        shift = shift_of(before, self.tally.scores.binned)
        judged = self._limits.judge(None, "score", shift.low, refusing=refusing)
        return [] if judged is None else [Breach(None, "score", shift.value, 0.0, *judged)]

    def _since(self) -> tuple[bool, list[Breach]]:
        """Whether the rows are those of the earlier report, and by what they differ from them, beyond warning limits.

        Of a report of another plan only rates are told: its bins hold other values.
        """
        if self._against is None:
            return False, []
        look, digest, rows, same_plan = self._against
        scores = self.tally.scores
        if digest == scores.digest and rows == scores.rows:
            return rows >= _LEAST_REPEATED, []
        breaches = []
        for name, now in self.tally.fields.items():
            if name in look.fields:
                found = self._of_field(name, look.fields[name], now, self._natural(name), refusing=False)
                breaches += [breach for breach in found if same_plan or breach.measure != "shift"]
        if look.scores is not None:
            breaches += self._of_scores(look.scores, refusing=False)
        return False, breaches

    def _write_report(self, path: Path, breaches: Sequence[Breach], repeated: bool, since: Sequence[Breach]) -> None:
        tally = self.tally
        content = {
            "format": GUARD_FORMAT,
            "run": str(self._run),
            "plan": self._plan.digest,
            "rows": tally.rows,
            "digest": tally.scores.digest,
            "limits": [breach.to_json() for breach in breaches],
            "refused": any(breach.refused for breach in breaches) and not self._options.force,
            **tally.to_json(),
        }
        if self._usual is not None:
            for name, of_field in content["fields"].items():
                before = self._usual.fields[name]
                usual = {measure: before.rate(measure) for measure in ("missing", "unseen")}
                of_field |= {"shift": shift_of(before.binned, tally.fields[name].binned).value, "usual": usual}
            content["scores"]["usual"] = self._scored
        if self._options.against is not None:
            content["against"] = {
                "report": str(self._options.against),
                "same_rows": repeated,
                "limits": [breach.to_json() for breach in since],
            }
        write_text(path, compact_json(content))


@dataclass(frozen=True)
class _Limits:
    """Limits by level, field and measure."""

    warn: Mapping[str, Limit]
    refuse: Mapping[str, Limit]
    without_shift: frozenset[str] = field(default_factory=frozenset)
    """Fields whose shift only a limit of their own judges."""

    @classmethod
    def of(cls, scorer: Scorer, options: GuardOptions) -> "_Limits":
        """The recipe's limits, those of the options in their place. Raises UsageError for one of no
        field, and for one that nothing can pass."""
        is_number = fields_of(scorer.plan)
        fields = list(is_number)
        for option, chosen in (("--warn", options.warn), ("--limit", options.refuse)):
            for key in chosen:
                if (reason := why_no_limit(key, fields)) is not None:
                    raise UsageError(f"{option} {key}=…: {reason}")
                name, _, measure = key.rpartition(".")
                if measure == "unseen" and is_number.get(name):
                    raise UsageError(f"{option} {key}=…: no value of a number is unseen: limit {name}.shift")
        said = scorer.recipe.scoring.limits
        return cls(
            {**said.warn, **options.warn}, {**said.refuse, **options.refuse}, frozenset(_fields_of_time(scorer.recipe))
        )

    def judge(self, name: str | None, measure: str, sure: float, *, refusing: bool) -> tuple[float, bool] | None:
        """The limit that `sure`, what the measure is at least, is past, and whether it refuses; None for none."""
        for chosen, refused in ((self.refuse, True), (self.warn, False)):
            limit = chosen.get(measure)
            if measure == "shift" and name in self.without_shift:
                limit = None
            if name is not None:
                limit = chosen.get(f"{name}.{measure}", limit)
            if limit is not None and sure > limit and (refusing or not refused):
                return limit, refused
        return None


def _fields_of_time(recipe: Recipe) -> Iterator[str]:
    """The fields made of a date or time: rows of one day have one weekday by their nature."""
    for moment in recipe.features.date_time:
        age = moment.age_field()
        yield from (made.column for made in moment.part_fields())
        yield from [] if age is None else [age.column]
    if recipe.data.time is not None:
        fields: list[NumericField | CategoricalField] = [*recipe.features.numeric, *recipe.features.categorical]
        yield from (made.name or made.column for made in fields if made.column == recipe.data.time.column)


def compact_json(content: Mapping[str, Any]) -> str:
    """Strict JSON with a line for each field: thousands of counts would else take a line each."""
    import json

    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace('}},"', '}},\n"') + "\n"


def _told(breaches: Sequence[Breach]) -> str:
    more = f"; and {len(breaches) - _MOST_TOLD} more" if len(breaches) > _MOST_TOLD else ""
    return "; ".join(str(breach) for breach in breaches[:_MOST_TOLD]) + more


def _read_reference(path: Path, plan: FeaturePlan) -> tuple[Look | None, Look | None, dict[str, Any] | None]:
    """What the run's train rows looked like, those that new rows are held against, and how these were scored.

    All None for a run of an older version. Raises ArtefactError.
    """
    if not path.exists():
        return None, None, None
    content = read_json_artefact(path, "the run is damaged")
    _check_format(content, path)
    require_shape(content, REFERENCE_SHAPE, path)
    train = Look.of_json(content["train"], plan, path)
    if content["valid"] is None:
        for name, share in content["expected_unseen"].items():
            # Without valid rows it is estimated how many values to come are new.
            if name in train.fields and 0.0 <= share <= 1.0:
                train.fields[name].unseen = max(train.fields[name].unseen, int(share * train.fields[name].rows))
        return train, train, None
    scores = content["valid"]["scores"]
    scored = scores and {name: scores[name] for name in ("rows", "mean", "deviation")}
    return train, Look.of_json(content["valid"], plan, path), scored


def _read_report(path: Path, plan: FeaturePlan) -> tuple[Look, str, int, bool]:
    """An earlier report: its counts, its digest, its rows, and whether it is of the same plan. Raises ArtefactError."""
    if not path.exists():
        raise UsageError(f"--against {path}: there is no such report: `predict … --report FILE.json` writes one")
    content = read_json_artefact(path, "no report of `predict`")
    _check_format(content, path)
    require_shape(content, REPORT_SHAPE, path)
    same_plan = content["plan"] == plan.digest
    if not same_plan:
        known = fields_of(plan)
        empty = {"rows": 0, "bins": [], "counts": []}
        named = {name: {**fields, "binned": empty} for name, fields in content["fields"].items() if name in known}
        absent = {"rows": 0, "missing": 0, "unseen": 0, "binned": empty}
        content = {**content, "fields": {name: named.get(name, absent) for name in known}}
    return Look.of_json(content, plan, path), content["digest"], content["rows"], same_plan


def _check_format(content: Any, path: Path) -> None:
    require_shape(content, {"format": int}, path)
    if content["format"] > GUARD_FORMAT:
        raise ArtefactError(f"{path}: written by a newer widedeep (format {content['format']}): upgrade to read it")
