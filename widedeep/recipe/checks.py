"""What must hold between the sections of a recipe, each of which is right by itself."""

from collections.abc import Callable, Iterator, Set

from widedeep.recipe.places import Finding, KeyPath
from widedeep.recipe.schema import CategoricalField, NumericField, Recipe
from widedeep.recipe.wording import did_you_mean

METRICS = {
    "binary": ("auc", "log_loss", "normalized_entropy", "brier", "average_precision"),
    "regression": ("rmse", "mae", "r2"),
}
"""The metrics that fit each kind of label, the default one first."""

Cite = Callable[[KeyPath], str]
"""Names a second place in a message."""


def check_recipe(recipe: Recipe, cite: Cite, faulty: Set[str] = frozenset()) -> list[Finding]:
    """Everything that is wrong between sections, but nothing that would rest on a section named in `faulty`."""
    findings: list[Finding] = []
    for sections, check in _CHECKS:
        if not faulty & sections:
            findings += check(recipe, cite)
    return findings


def _some_field(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    if not recipe.features.numeric and not recipe.features.categorical:
        yield Finding(("features",), "names no field: list columns under `numeric` or `categorical`")


def _names_differ(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for path, name, _ in _fields(recipe):
        if name in first:
            yield Finding(path, f"the name '{name}' is that of {cite(first[name])} already: give one another `name`")
        first.setdefault(name, path)


def _no_leak(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    answers = {recipe.data.label.column: ("data", "label")}
    if recipe.data.weight is not None:
        answers.setdefault(recipe.data.weight, ("data", "weight"))
    for path, _, field in _fields(recipe):
        if field.column in answers:
            taken = cite(answers[field.column])
            yield Finding(path, f"the column '{field.column}' is {taken}, and a feature must not be: take it out here")


def _cross_members_are_fields(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    fields = {name: (path, field) for path, name, field in _fields(recipe)}
    for index, cross in enumerate(recipe.crosses):
        for position, member in enumerate(cross.fields):
            path: KeyPath = ("crosses", index, "fields", position)
            if member not in fields:
                hint = did_you_mean(member, fields) or "; a cross takes names of fields under `features`"
                yield Finding(path, f"no field is named '{member}'{hint}")
                continue
            field_path, field = fields[member]
            if isinstance(field, NumericField) and field.buckets is None:
                yield Finding(path, f"'{member}' is numeric: a cross needs `buckets` at {cite(field_path)}")


def _crosses_differ(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    first: dict[frozenset[str], KeyPath] = {}
    for index, cross in enumerate(recipe.crosses):
        path: KeyPath = ("crosses", index)
        fields = frozenset(cross.fields)
        if fields in first:
            yield Finding(path, f"the same cross as {cite(first[fields])}, whatever the order: keep one")
        first.setdefault(fields, path)


def _metric_fits_the_label(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    metric, kind = recipe.training.early_stopping.metric, recipe.data.label.kind
    if metric is not None and metric not in METRICS[kind]:
        message = (
            f"must be one of {', '.join(METRICS[kind])} for a {kind} label ({cite(('data', 'label'))}), is '{metric}'"
        )
        yield Finding(("training", "early_stopping", "metric"), message)


def _fields(recipe: Recipe) -> Iterator[tuple[KeyPath, str, NumericField | CategoricalField]]:
    for part in ("numeric", "categorical"):
        for index, field in enumerate(getattr(recipe.features, part)):
            yield ("features", part, index), field.name or field.column, field


_CHECKS: tuple[tuple[frozenset[str], Callable[[Recipe, Cite], Iterator[Finding]]], ...] = (
    (frozenset({"features"}), _some_field),
    (frozenset({"features"}), _names_differ),
    (frozenset({"data", "features"}), _no_leak),
    (frozenset({"features", "crosses"}), _cross_members_are_fields),
    (frozenset({"crosses"}), _crosses_differ),
    (frozenset({"data", "training"}), _metric_fits_the_label),
)
