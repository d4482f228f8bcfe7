"""A run's strongest wide weights: their values, in how many train rows these occur, and what those rows' labels say."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from widedeep.encoded.support import Support
from widedeep.errors import ArtefactError, UsageError
from widedeep.features.fields import FIRST, MISSING
from widedeep.features.inverse import Found, Values, find_values, planned_values
from widedeep.features.plan import FeaturePlan, IndexColumn
from widedeep.files import check_readable, plain_name, temporary_directory
from widedeep.memory.cross_memory import SIGNS, SUPPORT_BUCKETS, CrossMemory, contribution
from widedeep.model.layout import InputLayout
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import Recipe
from widedeep.runs import RunDirectory

Number = TypeVar("Number", bound=np.generic)
_WEIGHTS, _SCALE, _OFFSET = "model.wide.weights.weight", "model.wide.memory.scale", "model.wide.memory.offset"
TypedBlocks = Callable[[Sequence[str]], Iterator[pl.DataFrame]]
"""Typed train rows, in blocks of the columns that are asked for."""


@dataclass(frozen=True)
class WideWeight:
    """One weight of the wide part, and the train rows behind it."""

    column: str
    """The field or the cross."""
    kind: Literal["categorical", "bucketed", "cross"]
    stands_for: Literal["values", "missing", "unknown"]
    """`missing`: the row has no value. `unknown`: any value below the minimum count, or that train had not."""
    values: Values | None
    """Field → value, of a hashed column the most frequent. None for `unknown`, or if changed files lack them."""
    weight: float
    """What it adds to the logit."""
    support: int
    """Train rows that hold it; row weights play no part."""
    positives: int | None
    """None for regression."""
    mean: float
    """Mean label of those rows: for a binary label, the rate of positives."""
    lift: float | None
    """`mean` by that of all train rows; None for regression."""
    shared_by: int | None
    """Values or combinations that share the weight of a hashed column; None elsewhere."""
    share: float | None
    """Share of the rows that hold `values`, where others share the weight."""


@dataclass(frozen=True)
class WeightsResult:
    """The weights, strongest first, and the train rows as a whole."""

    weights: list[WideWeight]
    rows: int
    mean: float
    """Mean label of all train rows."""
    min_support: int


def wide_weights(run: RunDirectory, plan: FeaturePlan) -> dict[str, NDArray[np.float32]]:
    """Column → [size] float32: what a row's index adds to the logit, by the run's best checkpoint and its memory of
    crosses. The one reader of how they are stored.

    The weights of scaled numbers are left out: one for each, they belong to no value. A value of a list adds so much
    times the weight that the list gives it. Raises UsageError for a run without a wide part, ArtefactError for a
    missing or damaged checkpoint or memory.
    """
    layout = InputLayout.of(plan.index_columns, plan.numeric_columns)
    stored = _stored_wide(run)
    # What a checkpoint holds says how its crosses were learnt, in runs of every format.
    remembered = layout.crosses if _SCALE in stored else ()
    columns = (*layout.index_columns, *layout.list_columns)
    learnt = [column for column in columns if column not in remembered]
    weights = _by_column(stored.get(_WEIGHTS, np.empty((0, 1), dtype=np.float32))[:, 0], learnt)
    if weights is None:
        raise ArtefactError(f"{run.best_path}: checkpoint of another model: its wide part has other columns")
    if remembered:
        weights |= _effective_weights(run, remembered, stored)
    return {column.name: weights[column.name] for column in columns}


def _stored_wide(run: RunDirectory) -> dict[str, NDArray[np.float32]]:
    """The tensors of the wide part by their names in the checkpoint."""
    path = run.best_path
    check_readable(path)
    try:
        with plain_name(path) as plain, safe_open(plain, framework="numpy") as file:
            names = set(file.keys())
            if "model.wide.numeric" not in names:
                raise UsageError(
                    f"{run.path}: the run has no wide part, and so no wide weights: train with a model.kind that "
                    "has one, such as wide_deep"
                )
            return {name: file.get_tensor(name) for name in (_WEIGHTS, _SCALE, _OFFSET) if name in names}
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: there is no checkpoint here: restore it from a copy or train again") from error
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path}: a damaged checkpoint ({error}): restore it from a copy or train again") from error


def _effective_weights(
    run: RunDirectory, crosses: Sequence[IndexColumn], stored: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    memory = CrossMemory.load(run.memory_path)
    scale, offset = stored[_SCALE], stored[_OFFSET]
    values, supports = _by_column(memory.value, crosses), _by_column(memory.support, crosses)
    if values is None or supports is None or offset.size != len(crosses) * SUPPORT_BUCKETS:
        raise ArtefactError(f"{run.memory_path}: the memory of other crosses than the plan's: the run is damaged")
    scales, offsets = scale.reshape(len(crosses), SUPPORT_BUCKETS, SIGNS), offset.reshape(len(crosses), SUPPORT_BUCKETS)
    return {
        cross.name: contribution(values[cross.name], supports[cross.name], scales[i], offsets[i])
        for i, cross in enumerate(crosses)
    }


def _by_column(rows: NDArray[Number], columns: Sequence[IndexColumn]) -> dict[str, NDArray[Number]] | None:
    """The columns' rows [size] each, which are stored behind each other; None where they are not as many."""
    ends = np.cumsum([0, *(column.size for column in columns)], dtype=np.int64)
    if len(rows) != ends[-1]:
        return None
    return {column.name: rows[end - column.size : end] for column, end in zip(columns, ends[1:], strict=True)}


def default_min_support(num_rows: int) -> int:
    """A thousandth of the train rows, at least 10 and at most 100."""
    return min(100, max(10, num_rows // 1000))


def strongest_weights(
    recipe: Recipe,
    plan: FeaturePlan,
    weights: Mapping[str, NDArray[np.float32]],
    support: Support,
    typed: TypedBlocks,
    *,
    top: int,
    min_support: int | None,
) -> WeightsResult:
    """The `top` weights of largest magnitude among those that at least `min_support` train rows hold.

    `typed` is read only where the plan does not know the values: for hashed columns and crosses.
    """
    least = default_min_support(support.num_rows) if min_support is None else min_support
    columns = {column.name: column for column in plan.index_columns}
    strongest = list(_strongest(weights, support, top, least))
    found = _values_behind(plan, columns, strongest, typed)
    overall = _mean(recipe, support.label_sum, support.num_rows)
    return WeightsResult(
        [
            _described(recipe, columns[name], index, weights[name], support, overall, found.get((name, index)))
            for name, index in strongest
        ],
        support.num_rows,
        overall,
        least,
    )


def _strongest(
    weights: Mapping[str, NDArray[np.float32]], support: Support, top: int, least: int
) -> Iterable[tuple[str, int]]:
    ranked: list[tuple[float, str, int]] = []
    for name, of_column in weights.items():
        (eligible,) = np.nonzero((support.rows[name] >= least) & (of_column != 0.0))
        magnitudes = np.abs(of_column[eligible])
        ranked += [
            (-float(magnitudes[i]), name, int(eligible[i])) for i in np.argsort(-magnitudes, kind="stable")[:top]
        ]
    return [(name, index) for _, name, index in sorted(ranked)[:top]]


def _values_behind(
    plan: FeaturePlan, columns: Mapping[str, IndexColumn], wanted: Sequence[tuple[str, int]], typed: TypedBlocks
) -> dict[tuple[str, int], Found]:
    found: dict[tuple[str, int], Found] = {}
    among_rows: dict[str, list[int]] = {}
    for name, index in wanted:
        if index < FIRST:
            continue
        if (values := planned_values(plan, columns[name], index)) is not None:
            found[name, index] = Found(values)
        else:
            among_rows.setdefault(name, []).append(index)
    if among_rows:
        members = plan.members()
        needed = dict.fromkeys(members[field].column for name in among_rows for field in columns[name].fields)
        with temporary_directory() as folder:
            found |= find_values(plan, among_rows, typed(list(needed)), folder)
    return found


def _described(
    recipe: Recipe,
    column: IndexColumn,
    index: int,
    weights: NDArray[np.float32],
    support: Support,
    overall: float,
    found: Found | None,
) -> WideWeight:
    rows, label_sum = int(support.rows[column.name][index]), float(support.label_sums[column.name][index])
    binary = recipe.data.label.kind == "binary"
    mean = _mean(recipe, label_sum, rows)
    values = found.values if found is not None else None
    # A cross is never missing as a whole: a missing member is a value of its own there.
    missing = index == MISSING and column.kind != "cross"
    return WideWeight(
        column=column.fields[0] if column.kind == "bucketed" else column.name.removesuffix(OURS),
        kind=column.kind,
        stands_for="missing" if missing else "unknown" if index < FIRST else "values",
        values={column.fields[0]: None} if missing else values,
        weight=float(weights[index]),
        support=rows,
        positives=round(label_sum) if binary else None,
        mean=mean,
        lift=mean / overall if binary else None,
        shared_by=None if found is None else found.shared_by,
        share=None if found is None or found.rows is None else found.rows / rows,
    )


def _mean(recipe: Recipe, label_sum: float, rows: int) -> float:
    """Mean label; negatives that `keep_negatives` left out count as well, since the rate is to be that of the log."""
    if recipe.data.label.kind == "regression":
        return label_sum / rows
    return label_sum / (label_sum + (rows - label_sum) / recipe.data.keep_negatives)
