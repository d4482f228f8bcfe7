"""From what a table holds to a recipe for it, each choice with its reason."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from widedeep.errors import DataError, UsageError
from widedeep.suggest.fields import Entry, Fields, Split, choose_fields
from widedeep.suggest.look import Look, shown
from widedeep.suggest.settings import Setting, Size, model_settings, training_settings
from widedeep.suggest.split import SplitChoice, TimeChoice, check_group, choose_split, choose_time

_MANY_NEGATIVES = 1_000_000
_RARE = 0.01
_NOTES_OF_LEAKS = 10
_KEPT_PER_POSITIVE = 50


@dataclass(frozen=True)
class Suggestion:
    """A recipe to be written, with its reasons."""

    name: str
    title: tuple[str, ...]
    """What was looked at."""
    data: tuple[Setting, ...]
    fields: dict[str, list[Entry]]
    """By part of `features`."""
    left_out: tuple[tuple[str, str], ...]
    """Column and reason."""
    model: tuple[Setting, ...]
    training: tuple[Setting, ...]
    notes: tuple[str, ...]
    """What the user should hear at once."""


def suggest(
    look: Look,
    files: Mapping[str, Sequence[str]],
    name: str,
    *,
    time: str | None = None,
    group: str | None = None,
) -> Suggestion:
    """A recipe that trains on the table as it stands; `files` are the paths by split, as the recipe shall name them.

    Raises DataError, UsageError for a time or group that cannot be one, and for a table without a usable column.
    """
    for option, column in (("time", time), ("group", group)):
        if column == look.label.column:
            raise UsageError(f"--{option} {column}: that is the label")
    if group is not None:
        check_group(look, group)
    moment = choose_time(look, time)
    drawn = tuple(part for part in ("valid", "test") if part not in files)
    split = choose_split(look, moment, group, drawn)
    kind = split.settings.get("kind")
    size = _size(look, split)
    by = Split(moment, kind == "time", group, kind == "key", split.train_rows, size.is_wide)
    fields = choose_fields(look, by)
    if not fields.count:
        reasons = "; ".join(f"{shown(column)}: {why}" for column, why in fields.left_out[:6])
        raise DataError(
            f"no column is left to predict {shown(look.label.column)!r} from ({reasons or 'there is none'})"
        )
    return Suggestion(
        name=re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]", lambda found: "-" if found.start() else "", name) or "recipe",
        title=_title(look, fields),
        data=_data(look, files, moment, group, split, fields),
        fields={
            part: entries
            for part in ("numeric", "categorical", "multi_valued", "date_time")
            if (entries := getattr(fields, part))
        },
        left_out=tuple(fields.left_out),
        model=model_settings(size),
        training=training_settings(size),
        notes=_notes(look, moment, time, split, fields),
    )


def _size(look: Look, split: SplitChoice) -> Size:
    rarer = 0.5
    if look.label.kind == "binary":
        rarer = min(look.label.positive_share, 1.0 - look.label.positive_share)
    num_fields = sum(column.nature != "left_out" for column in look.columns)
    return Size(split.train_rows, rarer, num_fields, float(look.label.values.std()))


def _title(look: Look, fields: Fields) -> tuple[str, ...]:
    sample = look.sample
    rows = f"all {sample.num_rows:,} rows" if sample.whole else f"{sample.frame.height:,} of {sample.rows_told} rows"
    used = len(look.columns) - len(fields.left_out)
    left_out = f", {len(fields.left_out)} left out (see the end)" if fields.left_out else ""
    return (
        f"Suggested by `widedeep init` after a look at {rows}; every choice is yours to change.",
        f"{len(look.columns) + 1} columns: the label, {used} in use{left_out}.",
    )


# ---------------------------------------------------------------------------------------------------- the data section


def _data(
    look: Look,
    files: Mapping[str, Sequence[str]],
    time: TimeChoice | None,
    group: str | None,
    split: SplitChoice,
    fields: Fields,
) -> tuple[Setting, ...]:
    settings = [Setting(part, paths[0] if len(paths) == 1 else list(paths)) for part, paths in files.items()]
    form = dict(look.sample.format)
    if look.markers:
        form["missing"] = [*look.markers, ""]
    if form:
        settings.append(Setting("format", form))
    settings.append(_label(look))
    if time is not None:
        value = time.column if time.format is None else {"column": time.column, "format": time.format}
        settings.append(Setting("time", value, time.why))
    if group is not None and look.label.kind == "binary":
        settings.append(Setting("group", group, "its rows are ranked together: adds GAUC, NDCG, MRR, …"))
    if (share := _kept_negatives(look, split)) < 1.0:
        settings.append(
            Setting("keep_negatives", share, "of so many that some say enough; scores are corrected for it")
        )
    if split.settings:
        settings.append(Setting("split", split.settings, split.why))
    if (reason := _bad_numbers(look, fields, files)) is not None:
        settings.append(Setting("bad_numbers", "missing", reason))
    return tuple(settings)


def _label(look: Look) -> Setting:
    label = look.label
    if label.kind == "regression":
        comment = f"a number, {label.note}; for two classes: positive: [{label.values.max():g}] in place of kind"
        return Setting("label", {"column": label.column, "kind": "regression"}, comment)
    share = f"{label.positive_share:.3g}" if label.positive_share < 0.001 else f"{label.positive_share:.1%}"
    if label.positive is None:
        return Setting("label", label.column, f"{share} positive")
    value: dict[str, Any] = {"column": label.column, "positive": list(label.positive)}
    value["negative"] = list(label.negative or ())
    return Setting("label", value, f"{share} positive; {label.note}")


def _kept_negatives(look: Look, split: SplitChoice) -> float:
    share = look.label.positive_share
    if look.label.kind != "binary" or share >= _RARE or split.train_rows * (1.0 - share) < _MANY_NEGATIVES:
        return 1.0
    kept = round(max(_KEPT_PER_POSITIVE * share / (1.0 - share), 0.05), 2)
    return kept if kept <= 0.5 else 1.0


def _bad_numbers(look: Look, fields: Fields, files: Mapping[str, Sequence[str]]) -> str | None:
    used = {entry.settings["column"] for entry in fields.numeric}
    bad = [column for column in look.columns if column.name in look.bad_numbers and column.name in used]
    if bad:
        numbers = bad[0].numbers
        example = shown(numbers.example) if numbers is not None and numbers.example else "NaN"
        return f"such as {example!r} in {shown(bad[0].name)}"
    if used and (not look.sample.whole or len(files) > 1):
        looked_at = "only the train rows" if look.sample.whole else "only some rows"
        return f"{looked_at} were looked at: an odd one elsewhere must not end the run"
    return None


# --------------------------------------------------------------------------------------------------------------- notes


def _notes(
    look: Look, time: TimeChoice | None, wanted: str | None, split: SplitChoice, fields: Fields
) -> tuple[str, ...]:
    notes = []
    if look.label.positive is not None:
        values = ", ".join(repr(value) for value in look.label.positive)
        notes.append(f"positive is {values}: {look.label.note}")
    if look.label.kind == "regression":
        notes.append(f"{shown(look.label.column)} has {look.label.note}: the recipe predicts the number (regression)")
    if time is not None and wanted is None and split.settings.get("kind") == "time":
        notes.append(f"split by {shown(time.column)}: {time.why}; --time names another column")
    leaks = [f"left out {shown(column.name)}: {column.why}" for column in look.columns if column.is_leak]
    notes += leaks[:_NOTES_OF_LEAKS]
    if len(leaks) > _NOTES_OF_LEAKS:
        notes.append(
            f"left out {len(leaks) - _NOTES_OF_LEAKS} more that give the label away: the recipe's end lists them"
        )
    return (*notes, *split.notes)
