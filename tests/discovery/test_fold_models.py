"""Models out of fold: what they say of a row owes nothing to it."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.typing import NDArray

from widedeep.discovery.fold_models import FIRST_SWEEPS, FOLDS, LATER_SWEEPS, LIST_STEPS, FoldModels
from widedeep.lists import Lists
from widedeep.memory.additive import Target, fit_additive
from widedeep.memory.columns import CodeColumn, Column, ListColumn

ROWS = 203
FOLD_OF = np.searchsorted([ROWS * fold // FOLDS for fold in range(1, FOLDS)], np.arange(ROWS), side="right")
KINDS = ("binary", "regression")


def columns(seed: int = 0) -> list[Column]:
    """Two fields, a list, and a cross."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 4, ROWS).astype(np.int64)
    lists = Lists(draw.integers(-1, 6, lengths.sum(), dtype=np.int32), lengths)
    a, b, cross = (draw.integers(-1, size, ROWS, dtype=np.int32) for size in (4, 7, 20))
    return [CodeColumn([a], 4), CodeColumn([b], 7), ListColumn([lists], 6), CodeColumn([cross], 20)]


def target(kind: str, flipped: int | None = None, *, weighted: bool = False) -> Target:
    draw = np.random.default_rng(9)
    label = draw.integers(0, 2, ROWS).astype(np.float32)
    weight = draw.integers(1, 4, ROWS).astype(np.float32)
    if flipped is not None:
        label[flipped] = 1 - label[flipped]
    return Target(kind, label, weight if weighted else None)  # type: ignore[arg-type]


def built(target: Target, offset: NDArray[np.float32] | None = None) -> FoldModels:
    """With a column that was added, and one that was taken away again."""
    *first, cross = columns()
    return FoldModels(first, target, offset).with_column(cross).with_column(columns(1)[3]).without_column(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flipped", [0, 40, 101, ROWS - 1])
def test_a_label_has_no_influence_on_what_is_said_of_its_row_nor_of_others_in_the_fold(kind: str, flipped: int) -> None:
    plain, other = built(target(kind)).logit, built(target(kind, flipped)).logit
    fold = FOLD_OF[flipped] == FOLD_OF
    assert plain[fold].tobytes() == other[fold].tobytes()
    assert (plain[~fold] != other[~fold]).mean() > 0.5


@pytest.mark.parametrize("weighted", [False, True])
def test_each_fold_is_told_by_a_model_of_the_others(weighted: bool) -> None:
    offset = np.random.default_rng(2).normal(size=ROWS).astype(np.float32)
    models = FoldModels(columns(), target("binary", weighted=weighted), offset)
    for fold in range(FOLDS):
        used = fold != FOLD_OF
        alone = fit_additive(
            columns(),
            target("binary", weighted=weighted),
            used,
            sweeps=FIRST_SWEEPS,
            offset=offset,
            list_steps=LIST_STEPS,
        )
        assert models.logit[~used] == pytest.approx((alone.logit(columns(), ROWS) + offset)[~used], abs=1e-5)


def test_the_models_that_a_column_is_added_to_or_taken_from_stay_as_they_were() -> None:
    models = FoldModels(columns()[:3], target("binary"), None)
    before = deepcopy(vars(models))
    more = models.with_column(columns()[3])
    grown = deepcopy(vars(more))
    less = more.without_column(0)
    for one, kept in ((models, before), (more, grown)):
        assert one.logit.tobytes() == kept["logit"].tobytes()
        assert len(one._columns) == len(kept["_columns"])
        for model, known in zip(one._models, kept["_models"], strict=True):
            assert model is not None
            assert [weights.tobytes() for weights in model.weights] == [weights.tobytes() for weights in known.weights]
    assert less.logit.tobytes() not in (more.logit.tobytes(), models.logit.tobytes())
    # Whether something was built on them meanwhile does not show.
    assert models.with_column(columns()[3]).logit.tobytes() == more.logit.tobytes()


def test_a_column_that_is_taken_away_says_nothing_any_more() -> None:
    models = FoldModels(columns()[:3], target("binary"), None)
    back = models.with_column(columns()[3]).without_column(3)
    for _ in range(60 // LATER_SWEEPS):
        models, back = (one.with_column(columns(2)[0]).without_column(3) for one in (models, back))
    assert back.logit == pytest.approx(models.logit, abs=0.02)


def test_the_fall_of_the_loss_is_that_out_of_fold() -> None:
    draw = np.random.default_rng(4)
    code = draw.integers(0, 5, ROWS, dtype=np.int32)
    label = (draw.random(ROWS) < 0.1 + 0.2 * code).astype(np.float32)
    noise = CodeColumn([draw.integers(0, 60, ROWS, dtype=np.int32)], 60)
    models = FoldModels(columns()[:1], Target("binary", label), None)
    useful = models.with_column(CodeColumn([code], 5))
    assert models.loss_fall_to(useful).low > 0.0
    assert models.loss_fall_to(models.with_column(noise)).low <= 0.0
    assert models.loss_fall_to(models).interval == (0.0, 0.0, 0.0)
    losses = [
        np.logaddexp(0.0, np.where(label > 0, -one.logit, one.logit).astype(np.float64)) for one in (models, useful)
    ]
    assert models.loss_fall_to(useful).value == pytest.approx((losses[0] - losses[1]).mean(), abs=1e-9)
