"""The feature plan as plain JSON, which encode.py reads without Polars: the file format of exported folders."""

from collections.abc import Mapping
from typing import Any

from widedeep.errors import UsageError
from widedeep.export.encode import FORMAT
from widedeep.features.fields import FittedCategorical, FittedCross, FittedNumeric, bucket_name, flag_name
from widedeep.features.plan import FeaturePlan
from widedeep.model.layout import InputLayout
from widedeep.recipe.schema import DateTimeField, FormatSettings, MultiValuedField, Recipe
from widedeep.source.forms import Forms
from widedeep.table.missing_values import missing_values, table_of
from widedeep.table.typed_columns import TypedColumn, typed_columns

_UNITS = {None: None, "epoch": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
"""Formats of times that encode.py reads → how many of their units make a second."""
_IN_PYTHON = "; score with `widedeep predict` or from Python, or train without it"


def refuse_unexported(recipe: Recipe) -> None:
    """Raise UsageError for a recipe with something that encode.py does not read."""
    if listed := next((name or "the log" for name in missing_values(recipe.data)), None):
        raise UsageError(
            f"data.format.missing: lists numbers, booleans or times for {listed}, which export does not know"
            f"{_IN_PYTHON}"
        )
    for field in recipe.features.multi_valued:
        if field.form != "separated":
            raise UsageError(
                f"features.multi_valued: {field.column!r} has the form {field.form}, which export does not read"
                f"{_IN_PYTHON}"
            )
        if (table := table_of(field.column, recipe.data)) and _cleaning(recipe, table) != _cleaning(recipe, ""):
            raise UsageError(
                f"features.multi_valued: {field.column!r} comes from the side table {table!r}, whose `missing` or "
                f"`trim` is not the log's, which export does not know{_IN_PYTHON}"
            )
    for moment in recipe.features.date_time:
        for name in (moment.format, None if moment.since is None else moment.since.format):
            if name not in _UNITS:
                raise UsageError(
                    f"features.date_time: {moment.column!r} has the format {name!r}; export reads ISO 8601 and "
                    f"epoch, epoch_ms, epoch_us and epoch_ns{_IN_PYTHON}"
                )


def refuse_times_as_texts(recipe: Recipe, forms: Forms | None) -> None:
    """Raise UsageError for a run whose texts encode.py cannot bring into their one writing."""
    if forms is None:
        raise UsageError("the run was made by an older widedeep, which did not note how texts are written: train anew")
    made = {column.name: column for column in typed_columns(recipe)}
    for name, form in forms.of.items():
        if form == "time" and name in made and made[name].role in ("text", "values"):
            raise UsageError(
                f"features: {made[name].column!r} holds dates or times as values, which export does not read: name it "
                f"under features.date_time{_IN_PYTHON}"
            )


def exported_plan(
    recipe: Recipe, plan: FeaturePlan, layout: InputLayout, forms: Forms, kinds: Mapping[str, str]
) -> dict[str, Any]:
    """What `Encoder` reads. `kinds` maps source columns to the kind of values that training saw."""
    made = {column.name: column for column in typed_columns(recipe)}
    needed = {name: made[name] for name in plan.required_columns() if made[name].role != "weights"}
    numerics = {number.name: number for number in plan.numerics}
    inputs: list[dict[str, Any]] = []
    for number in plan.numerics:
        scaling = {"transform": number.transform, "mean": number.mean, "scale": number.scale, "cuts": number.cuts}
        inputs.append({"name": number.name, "column": number.column, "clip": number.clip, **scaling})
        if number.flagged:
            inputs.append({"name": flag_name(number.name), "column": number.column, "transform": "is_missing"})
    assert tuple(of["name"] for of in inputs) == layout.numeric_columns
    fields = {field.name: field for field in plan.vocabulary_fields}
    crosses = {cross.name: cross for cross in plan.crosses}
    buckets = {bucket_name(name): number for name, number in numerics.items()}
    indices = []
    for column in (*layout.index_columns, *layout.list_columns):
        made_of: dict[str, Any] = {"name": column.name, "size": column.size}
        if column.kind == "bucketed":
            number = buckets[column.name]
            made_of |= {"kind": "bucketed", "column": number.column, "clip": number.clip, "cuts": number.bucket_cuts}
        elif column.kind == "cross":
            made_of |= _cross(plan, crosses[column.name])
        else:
            made_of |= _values(fields[column.name])
        if column.pooling is not None:
            lists = [field.column for field in plan.multi_valued if field.name in column.fields]
            made_of |= {"weights": lists if column.weights is not None else []}
        indices.append(made_of)
    num_single = len(layout.index_columns)
    return {
        "format": FORMAT,
        "columns": {name: _column(recipe, column, forms, kinds) for name, column in needed.items()},
        "indices": indices[:num_single],
        "numerics": inputs,
        "lists": indices[num_single:],
    }


def _column(recipe: Recipe, column: TypedColumn, forms: Forms, kinds: Mapping[str, str]) -> dict[str, Any]:
    """How a typed column is read of a raw row."""
    missing, trim = _cleaning(recipe, table_of(column.column, recipe.data))
    how: dict[str, Any] = {
        "from": column.column,
        "kind": kinds.get(column.column),
        "trim": trim,
        "missing": missing,
        "bad_is_missing": recipe.data.bad_numbers == "missing",
    }
    field = column.field
    if column.role == "values":
        assert isinstance(field, MultiValuedField)
        return how | {
            "as": "list",
            "form": forms.of.get(column.name),
            "separator": field.separator,
            "weight_separator": field.weight_separator,
            "max_length": field.max_length,
        }
    if isinstance(field, DateTimeField):
        how["units"] = _UNITS[field.format]
        if column.role == "age":
            assert field.since is not None
            how |= {"since_from": field.since.column, "since_units": _UNITS[field.since.format]}
        return how | {"as": "age" if column.role == "age" else column.part}
    return how | {"as": column.role} | ({"form": forms.of.get(column.name)} if column.role == "text" else {})


def _cleaning(recipe: Recipe, table: str) -> tuple[tuple[str, ...], bool]:
    settings: FormatSettings = recipe.data.tables[table].format if table else recipe.data.format
    return settings.missing, settings.trim


def _values(field: FittedCategorical) -> dict[str, Any]:
    vocabulary = None if field.buckets is not None else field.vocabulary["value"].to_list()
    return {
        "kind": "values",
        "column": field.column,
        "buckets": field.buckets,
        "seed": field.seed,
        "vocabulary": vocabulary,
    }


def _cross(plan: FeaturePlan, cross: FittedCross) -> dict[str, Any]:
    lists = [field.name for field in plan.multi_valued]
    members = []
    for name, member in plan.cross_members(cross).items():
        cuts, clip = (member.bucket_cuts, member.clip) if isinstance(member, FittedNumeric) else (None, None)
        varies = lists.index(name) if name in lists else -1
        members.append({"column": member.column, "cuts": cuts, "clip": clip, "varies": varies})
    # Hexadecimal, because many readers of JSON take large integers for floats.
    mixes = None if cross.buckets is not None else [f"{mix:016x}" for mix in cross.vocabulary["value"].to_list()]
    return {"kind": "cross", "members": members, "buckets": cross.buckets, "vocabulary": mixes}
