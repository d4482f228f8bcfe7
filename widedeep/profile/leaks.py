"""Which columns give the label away, so that they must have been written after it: one rule for `init` and `ingest`."""

from collections.abc import Mapping
from dataclasses import dataclass

from widedeep.profile.single_column import Evidence, FilledPattern

_CERTAIN_AUC = 0.99
_AUC_OF_TWO_VALUES = 0.95
"""An honest column with two values is never so good, a copy of the label with some flips is."""
_CERTAIN_R2 = 0.995
"""Higher than an AUC, whatever the other columns: an amount may follow another closely, as a price with tax does."""
_LIKELY_AUC = 0.95
_FAR_AHEAD = 4.0
"""A likely leak's distance to perfection is so many times shorter than that of the next best column."""


@dataclass(frozen=True)
class Judged:
    """A column that the judgement compares with others."""

    source: str
    """The source column: what is made of the same one is no rival of itself."""
    evidence: Evidence


def leaks(columns: Mapping[str, Judged]) -> dict[str, str]:
    """Of the columns that give the label away: by what, as words that go on after "gives the label away: "."""
    reasons = {name: reason for name, column in columns.items() if (reason := _leak_alone(column.evidence))}
    strengths = {
        name: column.evidence.strength or 0.0
        for name, column in columns.items()
        if name not in reasons and column.evidence.is_binary
    }
    best_of_source: dict[str, float] = {}
    for name, strength in strengths.items():
        source = columns[name].source
        best_of_source[source] = max(strength, best_of_source.get(source, strength))
    # Two are enough: at most one of them is the column's own.
    best_sources = sorted(best_of_source.items(), key=lambda best: best[1], reverse=True)[:2]
    for name, strength in strengths.items():
        if strength < _LIKELY_AUC:
            continue
        source = columns[name].source
        next_best = next((best for other, best in best_sources if other != source), 0.5)
        if 1.0 - next_best >= _FAR_AHEAD * (1.0 - strength):
            reasons[name] = f"held-out AUC {strength:.3f} alone, the next best column has {next_best:.3f}"
    return {name: reasons[name] for name in columns if name in reasons}


def _leak_alone(evidence: Evidence) -> str:
    strength = evidence.strength
    if not evidence.is_binary:
        return f"held-out R² {strength:.3f} alone" if strength is not None and strength >= _CERTAIN_R2 else ""
    if not evidence.is_enough:
        return "each of its values has one label only" if evidence.is_pure else ""
    if strength is not None and strength >= _CERTAIN_AUC:
        return f"held-out AUC {strength:.3f} alone"
    of_two = evidence.by_value if evidence.has_two_values else evidence.by_filled
    if of_two is not None and of_two >= _AUC_OF_TWO_VALUES:
        return f"held-out AUC {of_two:.3f} alone, by two values only"
    pattern = evidence.pattern
    if _is_filled_for_one_class(pattern):
        share = pattern.filled_positives / pattern.filled
        return f"where it is filled, {share:.1%} are positive ({pattern.filled:,.0f} rows)"
    return ""


def _is_filled_for_one_class(pattern: FilledPattern) -> bool:
    """Whether the filled rows are of one class only, far beyond chance, though many of the other were expected."""
    rate = (pattern.filled_positives + pattern.empty_positives) / max(pattern.filled + pattern.empty, 1.0)
    expected = pattern.filled * rate
    only_positives = (
        pattern.filled - pattern.filled_positives <= 0.01 * pattern.filled and pattern.filled - expected >= 20.0
    )
    only_negatives = pattern.filled_positives <= 0.01 * expected and expected >= 20.0
    return pattern.empty > 0 and pattern.filled >= 30 and (only_positives or only_negatives)
