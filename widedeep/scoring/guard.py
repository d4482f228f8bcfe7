"""Judges scored rows against what a run's own rows looked like, and against an earlier report: limits, breaches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from widedeep.errors import RefusedError, UsageError
from widedeep.files import write_text
from widedeep.recipe.checks import why_no_limit
from widedeep.recipe.schema import CategoricalField, NumericField, Recipe
from widedeep.reporting import Reporter
from widedeep.scoring.looks import LOOKS_FORMAT, EarlierReport, Reference, compact_json
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import Binned, FieldTally, Tally, fields_of, rate_bounds, shift_of

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


class Guard:
    """Holds rows that are scored against the rows of the run's own, and says what lies past a limit."""

    def __init__(self, scorer: Scorer, run: Path, options: GuardOptions) -> None:
        """Read the reference and the earlier report.

        Raises UsageError for limits of no field, or of a run without a reference; ArtefactError for a damaged file.
        """
        self._plan, self._run, self._options = scorer.plan, run, options
        self._limits = _Limits.of(scorer, options)
        self._reference = Reference.read(run, scorer.plan)
        if self._reference is None and (options.warn or options.refuse):
            raise UsageError(
                f"--limit, --warn: {run} keeps no reference to hold new rows against, as an older widedeep trained it: "
                "train it again, or leave them out"
            )
        self._against = None if options.against is None else EarlierReport.read(options.against, scorer.plan)

    def judge(
        self, tally: Tally, reporter: Reporter, sent: Callable[[], int] = lambda: 0, *, file: Path | None = None
    ) -> list[Breach]:
        """Judge rows, all of which `tally` has; write the report, and tell `reporter` in one line what lies past a
        limit.

        `sent` gives how many scores have gone where they cannot be taken back. The line names `file`, if the rows are
        those of one file of several. Raises RefusedError if a limit of
        refusal is passed, unless `force`; WriteError.
        """
        tally.settle()
        place = "" if file is None else f"{file}: "
        breaches = self._breaches(tally)
        refused = [breach for breach in breaches if breach.refused]
        repeated, since = self._since(tally)
        if self._options.report is not None:
            self._write_report(self._options.report, tally, breaches, repeated, since)
            if self._reference is None:
                reporter.note(f"{self._run}: an older widedeep trained it: it has no reference, and nothing was judged")
        if refused and not self._options.force:
            gone = sent()
            state = f"{gone:,} scores were sent already" if gone else "nothing was written"
            raise RefusedError(
                f"{place}{_told(refused)}: such rows the model does not know, and {state}: mend the rows, or "
                "train again; --force scores them all the same, --limit FIELD.MEASURE=SHARE moves the limit",
                [breach.to_json() for breach in breaches],
            )
        if breaches:
            reporter.warn(f"{place}the rows are not such as the model was trained on: {_told(breaches)}")
        if repeated:
            reporter.warn(f"all {tally.rows:,} scores are those of {self._options.against}: the same rows again")
        elif since:
            reporter.warn(f"the rows differ from those of {self._options.against}: {_told(since)}")
        return breaches

    def _breaches(self, tally: Tally) -> list[Breach]:
        if self._reference is None:
            return []
        usual, breaches = self._reference.usual, []
        for name, now in tally.fields.items():
            breaches += self._of_field(name, usual.fields[name], now)
        if usual.scores is not None:
            breaches += self._of_scores(usual.scores, tally)
        return sorted(breaches, key=lambda breach: (not breach.refused, breach.usual - breach.value))

    def _of_field(self, name: str, before: FieldTally, now: FieldTally, *, refusing: bool = True) -> list[Breach]:
        breaches = []
        for measure in ("missing", "unseen"):
            if not getattr(now, measure):
                continue
            low, _ = rate_bounds(getattr(now, measure), now.rows)
            _, high = rate_bounds(getattr(before, measure), before.rows)
            judged = self._judged(name, measure, low - high, refusing=refusing)
            if judged is not None:
                breaches.append(Breach(name, measure, now.rate(measure), before.rate(measure), *judged))
        shift = shift_of(before.binned, now.binned)
        if (judged := self._judged(name, "shift", shift.low, refusing=refusing)) is not None:
            breaches.append(Breach(name, "shift", shift.value, 0.0, *judged))
        return breaches

    def _judged(self, name: str, measure: str, sure: float, *, refusing: bool) -> tuple[float, bool] | None:
        """What `_Limits.judge` says of the measure, less what is natural to the field."""
        judged = self._limits.judge(name, measure, sure, refusing=refusing)
        # What is natural is worked out only where it matters: of few fields.
        return judged and self._limits.judge(name, measure, sure - self._natural(name, measure), refusing=refusing)

    def _natural(self, name: str, measure: str) -> float:
        """By how much the field's valid rows differ from its train rows."""
        if self._reference is None or self._reference.train is self._reference.usual:
            return 0.0
        train, valid = self._reference.train.fields[name], self._reference.usual.fields[name]
        if measure == "shift":
            return _BY_NATURE * shift_of(train.binned, valid.binned).value
        return max(0.0, valid.rate(measure) - train.rate(measure))

    def _of_scores(self, before: Binned, tally: Tally, *, refusing: bool = True) -> list[Breach]:
        shift = shift_of(before, tally.scores.binned)
        judged = self._limits.judge(None, "score", shift.low, refusing=refusing)
        return [] if judged is None else [Breach(None, "score", shift.value, 0.0, *judged)]

    def _since(self, tally: Tally) -> tuple[bool, list[Breach]]:
        """Whether the rows are those of the earlier report, and by what they differ from them, beyond warning limits.

        Of a report of another plan only rates are told: its bins hold other values.
        """
        against = self._against
        if against is None:
            return False, []
        if against.digest == tally.scores.digest and against.rows == tally.rows:
            return against.rows >= _LEAST_REPEATED, []
        breaches = []
        for name, now in tally.fields.items():
            differing = self._of_field(name, against.look.fields[name], now, refusing=False)
            breaches += [breach for breach in differing if against.is_same_plan or breach.measure != "shift"]
        if against.look.scores is not None:
            breaches += self._of_scores(against.look.scores, tally, refusing=False)
        return False, breaches

    def _write_report(
        self, path: Path, tally: Tally, breaches: Sequence[Breach], repeated: bool, since: Sequence[Breach]
    ) -> None:
        content = {
            "format": LOOKS_FORMAT,
            "run": str(self._run),
            "plan": self._plan.digest,
            "rows": tally.rows,
            "digest": tally.scores.digest,
            "limits": [breach.to_json() for breach in breaches],
            "refused": any(breach.refused for breach in breaches) and not self._options.force,
            **tally.to_json(),
        }
        if self._reference is not None:
            for name, of_field in content["fields"].items():
                before = self._reference.usual.fields[name]
                usual = {measure: before.rate(measure) for measure in ("missing", "unseen")}
                of_field |= {"shift": shift_of(before.binned, tally.fields[name].binned).value, "usual": usual}
            content["scores"]["usual"] = self._reference.scored
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


def _told(breaches: Sequence[Breach]) -> str:
    more = f"; and {len(breaches) - _MOST_TOLD} more" if len(breaches) > _MOST_TOLD else ""
    return "; ".join(str(breach) for breach in breaches[:_MOST_TOLD]) + more
