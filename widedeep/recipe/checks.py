"""Checks between the sections of a recipe, each of which is valid by itself."""

from collections.abc import Callable, Iterator, Sequence, Set

from widedeep.recipe.kinds import FIELD_MEASURES, KINDS, MEASURES
from widedeep.recipe.places import Finding, KeyPath, did_you_mean, dotted, told
from widedeep.recipe.schema import (
    CategoricalField,
    ColumnSplit,
    DeepSettings,
    FeatureSettings,
    KeySplit,
    MultiValuedField,
    NumericField,
    Recipe,
)

CHOOSABLE_METRICS = {
    "binary": ("log_loss", "auc", "normalized_entropy", "brier", "average_precision"),
    "regression": ("rmse", "mae", "r2"),
}
"""The metrics that fit each kind of label; `auto` is the first."""
RANKING_METRICS = ("gauc", "mrr")
RANKING_METRICS_AT_K = ("map", "ndcg", "hit_rate")
"""What `data.group` adds; the latter for each of `evaluation.cutoffs`, as in map@10."""


def choosable_metrics(recipe: Recipe) -> tuple[str, ...]:
    """The metrics that a model of this recipe can be chosen by; `auto` is the first."""
    names = CHOOSABLE_METRICS[recipe.data.label.kind]
    if recipe.data.group is None or recipe.data.label.kind != "binary":
        return names
    at_k = (f"{name}@{k}" for k in recipe.evaluation.cutoffs for name in RANKING_METRICS_AT_K)
    return (*names, *RANKING_METRICS, *at_k)


Cite = Callable[[KeyPath], str]
"""Names a second place in a message."""


def check_recipe(recipe: Recipe, cite: Cite, faulty: Set[str] = frozenset()) -> list[Finding]:
    """All faults between sections. Checks that need a section named in `faulty` are skipped."""
    findings: list[Finding] = []
    for sections, check in _CHECKS:
        if not faulty & sections:
            findings += check(recipe, cite)
    return findings


def _some_field(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    if not any(getattr(recipe.features, part) for part in FeatureSettings.model_fields):
        kinds = ", ".join(f"`{part}`" for part in FeatureSettings.model_fields)
        yield Finding(("features",), f"names no field: list columns under {kinds}")


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
    for part in FeatureSettings.model_fields:
        for index, field in enumerate(getattr(recipe.features, part)):
            if field.column in answers:
                taken = cite(answers[field.column])
                message = f"the column '{field.column}' is {taken}, and a feature must not be: take it out here"
                yield Finding(("features", part, index), message)
    for index, moment in enumerate(recipe.features.date_time):
        if moment.since is not None and moment.since.column in answers:
            taken = cite(answers[moment.since.column])
            message = f"the column '{moment.since.column}' is {taken}, and no age may start there: name another time"
            yield Finding(("features", "date_time", index, "since"), message)


def _label_has_no_other_use(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    data = recipe.data
    uses: list[tuple[KeyPath, str | None]] = [(("data", "weight"), data.weight), (("data", "group"), data.group)]
    if data.time is not None:
        uses.append((("data", "time"), data.time.column))
    if isinstance(data.split, KeySplit):
        uses.append((("data", "split", "key"), data.split.key))
    if isinstance(data.split, ColumnSplit):
        uses.append((("data", "split", "column"), data.split.column))
    uses += [(("data", "tables", name), table.on or table.key) for name, table in data.tables.items()]
    for path, column in uses:
        if column == data.label.column:
            yield Finding(path, f"the column '{column}' is {cite(('data', 'label'))}: name another column here")


def _vocabularies_agree(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    first: dict[str, tuple[KeyPath, CategoricalField | MultiValuedField]] = {}
    for part in ("categorical", "multi_valued"):
        for index, field in enumerate(getattr(recipe.features, part)):
            if field.vocabulary is None:
                continue
            path: KeyPath = ("features", part, index)
            first_path, first_field = first.setdefault(field.vocabulary, (path, field))
            for setting in ("min_count", "max_size", "buckets", "embedding_dim"):
                here, there = getattr(field, setting), getattr(first_field, setting)
                if here != there:
                    message = (
                        f"`{setting}` is {told(here)}, but {told(there)} at {cite(first_path)}, which shares the "
                        f"vocabulary '{field.vocabulary}': they must agree"
                    )
                    yield Finding(path, message)


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
            # If the cross has a granularity for a name that is no member of it, that is a misspelling, and another
            # check tells it.
            cut = member in cross.granularity or not cross.granularity.keys() <= set(cross.fields)
            if isinstance(field, NumericField) and field.buckets is None and not cut:
                message = (
                    f"'{member}' is numeric and not cut into buckets: give it `buckets` at {cite(field_path)}, or the "
                    f"cross a `granularity`, such as {{'{member}': 10}}"
                )
                yield Finding(path, message)


def _granularities_cut_numeric_members(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    fields = {name: (path, field) for path, name, field in _fields(recipe)}
    for index, cross in enumerate(recipe.crosses):
        numeric = [name for name in cross.fields if name in fields and isinstance(fields[name][1], NumericField)]
        for name in cross.granularity:
            path: KeyPath = ("crosses", index, "granularity", name)
            if name not in cross.fields:
                its = f"; its numeric fields are {', '.join(numeric)}" if numeric else "; it has no numeric field"
                yield Finding(path, f"the cross has no field '{name}'{did_you_mean(name, numeric) or its}")
            elif name in fields and name not in numeric:
                message = (
                    f"'{name}' at {cite(fields[name][0])} is no number: a granularity cuts numbers into buckets, take "
                    "it out here"
                )
                yield Finding(path, message)


def _crosses_differ(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    first: dict[frozenset[str], KeyPath] = {}
    for index, cross in enumerate(recipe.crosses):
        path: KeyPath = ("crosses", index)
        fields = frozenset(cross.fields)
        if fields in first:
            yield Finding(path, f"the same cross as {cite(first[fields])}, whatever the order: keep one")
        first.setdefault(fields, path)


def _table_columns_have_tables(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    answers: list[tuple[KeyPath, str]] = [(("data", "label"), recipe.data.label.column)]
    for key in ("weight", "group"):
        column = getattr(recipe.data, key)
        if column is not None:
            answers.append((("data", key), column))
    if recipe.data.time is not None:
        answers.append((("data", "time"), recipe.data.time.column))
    for path, column in answers:
        table, dot, _ = column.partition(".")
        if dot and table in recipe.data.tables:
            yield Finding(path, f"'{column}' is a column of a side table; it must be one of the log itself")


def _metric_fits_the_label(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    kind, known = recipe.data.label.kind, ("auto", *choosable_metrics(recipe))
    chosen: dict[KeyPath, str] = {("training", "early_stopping", "metric"): recipe.training.early_stopping.metric}
    if recipe.sweep is not None:
        chosen["sweep", "metric"] = recipe.sweep.metric
    for path, metric in chosen.items():
        if metric in known:
            continue
        ranking = metric.partition("@")[0] in (*RANKING_METRICS, *RANKING_METRICS_AT_K)
        needs_group = ranking and recipe.data.group is None
        hint = "; a ranking metric needs `data.group`" if needs_group else did_you_mean(metric, known)
        label = f"{kind} label ({cite(('data', 'label'))})"
        message = f"must be one of {', '.join(known)} for a {label}, is '{metric}'{hint}"
        yield Finding(path, message)


def _group_needs_classes(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    if recipe.data.group is not None and recipe.data.label.kind != "binary":
        yield Finding(("data", "group"), "ranking metrics need a binary label; take the group out")


def _embeddings_of_one_width(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    kind, dim = recipe.model.kind, recipe.model.embeddings.dim
    if not KINDS[kind].one_width:
        return
    rule = f"`model.kind: {kind}` multiplies embeddings with each other, so that all need one width"
    if dim == "auto":
        yield Finding(("model", "embeddings", "dim"), f"{rule}: set it to a number, such as 16; it is auto")
        return
    for path, name, field in _fields(recipe):
        width = None if isinstance(field, NumericField) else field.embedding_dim
        if width is not None and width != dim:
            where = cite(("model", "embeddings", "dim"))
            yield Finding(path, f"{rule}: `embedding_dim` of '{name}' is {width}, {where} is {dim}; take it out here")


def _batches_can_be_normalised(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    model, parts = recipe.model, KINDS[recipe.model.kind].settings
    networks: dict[KeyPath, DeepSettings | None] = {
        ("model", "deep"): model.deep if "deep" in parts else None,
        ("model", "finalmlp", "second"): model.finalmlp.second if "finalmlp" in parts else None,
        ("model", "finalnet", "second"): model.finalnet.second if "finalnet" in parts else None,
    }
    for path, network in networks.items():
        if network is not None and network.batch_norm and recipe.training.batch_size == 1:
            where = cite((*path, "batch_norm"))
            rule = f"{where} normalises by the rows of a batch, and a batch of 1 row has no variance"
            yield Finding(("training", "batch_size"), f"{rule}: take at least 2, is 1; or take the batch_norm out")
            return


def _two_networks_fit(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    if recipe.model.kind != "finalmlp":
        return
    settings = recipe.model.finalmlp
    for path, deep in (
        (("model", "deep", "hidden"), recipe.model.deep),
        (("model", "finalmlp", "second", "hidden"), settings.second or recipe.model.deep),
    ):
        if deep.hidden[-1] % settings.heads:
            message = (
                f"{settings.heads} heads must divide the last width of both networks, {dotted(path)} ends with "
                f"{deep.hidden[-1]}"
            )
            yield Finding(("model", "finalmlp", "heads"), message)
            break
    known = [name for _, name, field in _fields(recipe) if not isinstance(field, NumericField)]
    for part in ("first_context", "second_context"):
        for position, name in enumerate(getattr(settings, part)):
            if name not in known:
                hint = did_you_mean(name, known) or "; numbers have none"
                yield Finding(
                    ("model", "finalmlp", part, position), f"no field with an embedding is named '{name}'{hint}"
                )


def _blocks_can_be_halved(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    settings = recipe.model.finalnet
    if recipe.model.kind != "finalnet" or settings.residual != "concat":
        return
    for path, deep in (
        (("model", "deep", "hidden"), recipe.model.deep),
        (("model", "finalnet", "second", "hidden"), settings.second),
    ):
        if deep is not None and any(width % 2 for width in deep.hidden):
            yield Finding(
                path, f"`residual: concat` halves every width, so that they must be even, is {list(deep.hidden)}"
            )


_Field = NumericField | CategoricalField | MultiValuedField


def _fields(recipe: Recipe) -> Iterator[tuple[KeyPath, str, _Field]]:
    """(path in the recipe, name, field) of every field that the model sees, those made of a date or time included."""
    features = recipe.features
    lists: dict[str, Sequence[_Field]] = {
        "numeric": features.numeric,
        "categorical": features.categorical,
        "multi_valued": features.multi_valued,
    }
    for part, fields in lists.items():
        for index, field in enumerate(fields):
            yield ("features", part, index), field.name or field.column, field
    for index, moment in enumerate(features.date_time):
        age = moment.age_field()
        made: list[_Field] = [*moment.part_fields(), *([] if age is None else [age])]
        for field in made:
            yield ("features", "date_time", index), field.column, field


def _some_vocabulary_to_drop_from(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    if recipe.training.evict is None:
        return
    if all(entry.buckets is not None for entry in (*recipe.features.with_vocabulary(), *recipe.crosses)):
        message = "leave it out: no field or cross has a vocabulary to drop values of, all are hashed into `buckets`"
        yield Finding(("training", "evict"), message)


def _limits_name_fields(recipe: Recipe, cite: Cite) -> Iterator[Finding]:
    names = [name for _, name, _ in _fields(recipe)]
    limits = recipe.scoring.limits
    for level, chosen in (("warn", limits.warn), ("refuse", limits.refuse)):
        for key in chosen:
            if (reason := why_no_limit(key, names)) is not None:
                yield Finding(("scoring", "limits", level, key), reason)


def why_no_limit(key: str, fields: Sequence[str]) -> str | None:
    """Why no limit can be of `key`; None for a measure, and for one of a field."""
    name, dot, measure = key.rpartition(".")
    if not dot and key in MEASURES:
        return None
    if not dot or measure not in FIELD_MEASURES:
        return (
            f"must be a measure ({', '.join(MEASURES)}), or a field and one of {', '.join(FIELD_MEASURES)}, as in "
            "site_id.unseen"
        )
    return None if name in fields else f"there is no field '{name}'{did_you_mean(name, fields)}"


_CHECKS: tuple[tuple[frozenset[str], Callable[[Recipe, Cite], Iterator[Finding]]], ...] = (
    (frozenset({"features"}), _some_field),
    (frozenset({"features"}), _names_differ),
    (frozenset({"data", "features"}), _no_leak),
    (frozenset({"data"}), _label_has_no_other_use),
    (frozenset({"features"}), _vocabularies_agree),
    (frozenset({"data"}), _table_columns_have_tables),
    (frozenset({"data"}), _group_needs_classes),
    (frozenset({"features", "crosses"}), _cross_members_are_fields),
    (frozenset({"features", "crosses"}), _granularities_cut_numeric_members),
    (frozenset({"crosses"}), _crosses_differ),
    (frozenset({"features", "model"}), _embeddings_of_one_width),
    (frozenset({"features", "model"}), _two_networks_fit),
    (frozenset({"model"}), _blocks_can_be_halved),
    (frozenset({"model", "training"}), _batches_can_be_normalised),
    (frozenset({"data", "training", "evaluation", "sweep"}), _metric_fits_the_label),
    (frozenset({"features", "scoring"}), _limits_name_fields),
    (frozenset({"features", "crosses", "training"}), _some_vocabulary_to_drop_from),
)
