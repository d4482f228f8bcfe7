"""What in a profile will hurt, and what to do: leaks, groups and columns that differ by split, constants, ids."""

from collections.abc import Iterator, Sequence

from widedeep.profile.columns import ColumnProfile
from widedeep.profile.drift import STRONG_DRIFT
from widedeep.profile.id_like import is_id_like
from widedeep.profile.report import ColumnReport, Finding, IngestReport
from widedeep.recipe.schema import DataSettings, Recipe, TimeSplit
from widedeep.reporting import Reporter
from widedeep.table.split import drawn_parts
from widedeep.table.typed_columns import typed_columns

SHOWN = 10
"""Findings that are shown; `--json` has all."""


def findings(report: IngestReport, recipe: Recipe) -> tuple[Finding, ...]:
    """All that the report gives reason to say, the gravest first.

    Columns that are made of the time that orders the rows differ between the splits by their nature: no word of that.
    """
    data = recipe.data
    of_time = _made_of_time(recipe)
    return (
        *_leaks(report),
        *_shared_groups(report, data),
        *_label_drift(report, data),
        *_constants(report, of_time),
        *_ids(report, of_time),
        *_drifts(report, data, of_time),
    )


def show_findings(found: tuple[Finding, ...], reporter: Reporter) -> None:
    """A line each, for as many as a reader takes in."""
    for finding in found[:SHOWN]:
        (reporter.warn if finding.is_warning else reporter.note)(finding.message)
    _warn_of_more(len(found) - SHOWN, reporter)


def warn_of_columns(messages: Sequence[str], reporter: Reporter) -> None:
    """The same for messages that are warnings all."""
    for message in messages[:SHOWN]:
        reporter.warn(message)
    _warn_of_more(len(messages) - SHOWN, reporter)


def _warn_of_more(number: int, reporter: Reporter) -> None:
    if number > 0:
        reporter.warn(f"and {number} more (`widedeep ingest --json` lists all)")


def _leaks(report: IngestReport) -> Iterator[Finding]:
    told: set[str] = set()
    for column in report.columns:
        # Several columns may be made of one source column, such as the parts of a date: one word is enough.
        if column.profile is not None and column.profile.leak is not None and column.column not in told:
            told.add(column.column)
            yield Finding(
                "leak",
                column.column,
                f"column {column.column!r} gives the label away ({column.profile.leak}): if it is known only after the "
                "label, it is a leak; take it out of features",
            )


def _shared_groups(report: IngestReport, data: DataSettings) -> Iterator[Finding]:
    shared = {split: one for split, one in report.shared_groups.items() if one.shared_rows}
    if not shared or data.group is None:
        return
    shares = ", ".join(
        f"{'' if one.is_exact else 'about '}{_percent(one.shared_rows / one.rows)} of the {split} rows"
        for split, one in shared.items()
    )
    by_time = isinstance(data.split, TimeSplit) and bool(drawn_parts(data))
    if by_time:
        advice = "as is usual in a split by time: the metrics speak of groups that the model knows"
    elif drawn_parts(data):
        advice = (
            "the metrics speak of groups that the model knows; to measure it on new ones, "
            f"set data.split to {{kind: key, key: {data.group}}}"
        )
    else:
        advice = "the metrics speak of groups that the model knows; to measure it on new ones, split the files by group"
    yield Finding(
        "shared_groups",
        data.group,
        f"column {data.group!r}: {shares} belong to groups with train rows; {advice}",
        is_warning=not by_time,
    )


def _label_drift(report: IngestReport, data: DataSettings) -> Iterator[Finding]:
    label = next(column for column in report.columns if column.role == "label")
    # Train was thinned out by the recipe's own wish: its label differs, and scores are corrected for it.
    if data.keep_negatives < 1.0 or not _strong(label):
        return
    means = ", ".join(f"{one.mean:.4g} in {split}" for split, one in report.label.items())
    yield Finding(
        "label_drift",
        label.column,
        f"the label {label.column!r} differs between the splits{_by_time(data)}: its mean is {means}; scores will be "
        "off by as much, so see that all splits count the same thing",
    )


def _is_id(column: ColumnReport, report: IngestReport) -> bool:
    profile = column.profile
    # Of a sample alone nothing can be said: `ingest` counts such a column over all rows.
    if profile is None or profile.type != "text" or profile.distinct_is == "at least":
        return False
    return is_id_like(profile.distinct, report.rows["train"] - column.missing["train"])


def _made_of_time(recipe: Recipe) -> frozenset[str]:
    """Typed columns that are `data.time`'s column, its parts, or ages that count to or from it."""
    time = recipe.data.time
    if time is None:
        return frozenset()
    return frozenset(column.name for column in typed_columns(recipe) if time.column in column.sources)


def _constants(report: IngestReport, of_time: frozenset[str]) -> Iterator[Finding]:
    for column in _features(report):
        profile = column.profile
        # Of lists in a sample nothing can be said: `ingest` counts all other columns with one value over all rows.
        is_counted = profile is not None and profile.distinct_is != "at least"
        if profile is not None and is_counted and profile.distinct == 1 and not column.missing["train"]:
            value = profile.top[0].value
            shown = f"{value:g}" if isinstance(value, float) else repr(value)
            is_told = f"column {_shown_name(column)!r} is {shown} in all {report.rows['train']:,} train rows: "
            if column.name in of_time:
                advice = "it will tell rows apart once train covers more time"
            else:
                advice = "it tells no rows apart; take it out of features"
            yield Finding("constant", column.column, is_told + advice, is_warning=column.name not in of_time)


def _shown_name(column: ColumnReport) -> str:
    """Its own name where several are made of one source column."""
    return column.name if column.role in ("part", "age") else column.column


def _ids(report: IngestReport, of_time: frozenset[str]) -> Iterator[Finding]:
    for column in _features(report):
        rows = report.rows["train"] - column.missing["train"]
        profile = column.profile
        if profile is not None and _is_id(column, report):
            if column.name in of_time:
                advice = "list it under features.date_time, whose parts come again"
            else:
                advice = "take it out of features, or make it numeric if it is a quantity"
            yield Finding(
                "id_like",
                column.column,
                f"column {column.column!r} has {'about ' if profile.distinct_is == 'about' else ''}"
                f"{profile.distinct:,} different values in {rows:,} train rows, as an id has: what is learned of one "
                f"row's value helps no other; {advice}",
            )


def _drifts(report: IngestReport, data: DataSettings, of_time: frozenset[str]) -> Iterator[Finding]:
    drifting = [column for column in _features(report) if _strong(column) and column.name not in of_time]
    for column in sorted(drifting, key=lambda one: -max(one.profile.drift.values()) if one.profile else 0.0):
        assert column.profile is not None
        if _is_id(column, report):
            continue
        if _by_new_values(column.profile):
            yield Finding("new_values", column.column, _new_values(column, column.profile, report), is_warning=False)
            continue
        figures = ", ".join(
            f"{figure:.2f} in {split}" for split, figure in column.profile.drift.items() if figure >= STRONG_DRIFT
        )
        yield Finding(
            "drift",
            column.column,
            f"column {_shown_name(column)!r} drifts{_by_time(data)}: its values are far from those in train (stability "
            f"index {figures}; {STRONG_DRIFT} is much); leave it out, or give it a form that lasts, such as a share "
            "or a difference",
        )


def _by_new_values(profile: ColumnProfile) -> bool:
    """Whether, wherever the column drifts much, most rows that moved have values that train rows lack."""
    by_new = profile.drift_by_new
    if by_new is None:
        return False
    return all(by_new[split] >= 0.5 for split, figure in profile.drift.items() if figure >= STRONG_DRIFT)


def _new_values(column: ColumnReport, profile: ColumnProfile, report: IngestReport) -> str:
    named = f"column {column.column!r} "
    if profile.unseen is None:
        return f"{named}drifts by values that the train rows lack; training meets unknown values, too"
    about = "" if report.sampled_rows == report.rows else "about "
    shares = " and ".join(
        f"{about}{round(share * report.rows[split]):,} of the {report.rows[split]:,} {split} rows ({_percent(share)})"
        for split, share in profile.unseen.items()
        if share > 0.0
    )
    return f"{named}has values that no train row has in {shares}; training meets unknown values, too"


def _features(report: IngestReport) -> Iterator[ColumnReport]:
    """Columns that are model inputs; those of the label, weight, time and group have no label rates."""
    return (column for column in report.columns if column.profile is not None and column.profile.label_rates)


def _strong(column: ColumnReport) -> bool:
    return column.profile is not None and max(column.profile.drift.values(), default=0.0) >= STRONG_DRIFT


def _by_time(data: DataSettings) -> str:
    return " by time" if isinstance(data.split, TimeSplit) and drawn_parts(data) else ""


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.995 and share >= 0.005 else f"{share:.2%}"
