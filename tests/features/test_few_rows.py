"""Few rows are encoded by dictionaries: what comes out is what the Polars expressions give, whatever the values."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from widedeep.features import few_rows
from widedeep.features.few_rows import RowEncoder
from widedeep.features.fit import fit_plan
from widedeep.features.plan import FeaturePlan
from widedeep.memo import Memo
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

FEATURES = FeatureSettings.model_validate(
    {
        "numeric": [
            {"column": "price", "buckets": 4},
            {"column": "age", "transform": "standard", "clip": [0, 70], "buckets": 3},
            {"column": "views", "transform": "log1p", "clip": [None, 1e6]},
            {"column": "share", "transform": "minmax"},
            {"column": "plain", "transform": "none"},
        ],
        "categorical": [
            {"column": "color", "min_count": 1},
            {"column": "user", "buckets": 7},
            {"column": "last", "vocabulary": "tag"},
            {"column": "shape", "min_count": 1, "max_size": 2},
        ],
        "multi_valued": [
            {"column": "tags", "separator": "|", "weight_separator": ":", "vocabulary": "tag", "pooling": "sum"},
            {"column": "words", "separator": " ", "buckets": 5},
            {"column": "topics", "separator": " ", "min_count": 1},
        ],
    }
)
CROSSES = [
    CrossSettings.model_validate(cross)
    for cross in (
        {"fields": ["shape", "color"], "min_count": 1},
        {"fields": ["color", "price"], "buckets": 11},
        {"fields": ["color", "user", "shape"], "min_count": 2},
        {"fields": ["price", "views"], "min_count": 1, "granularity": {"price": 7, "views": 3}},
        {"fields": ["tags", "color"], "min_count": 1},
        {"fields": ["words", "tags"], "min_count": 1},
        {"fields": ["age", "topics", "words"], "buckets": 11},
        {"fields": ["views", "words"], "buckets": 5, "granularity": {"views": 4}},
    )
]
NUMBERS = ("price", "age", "views", "share", "plain")
TEXTS = ("color", "user", "last", "shape")
LISTS = ("tags", "words", "topics")
KNOWN = ("red", "blue", "", "é", "7", "round", "日本", "a b")
ODD_TEXTS = st.sampled_from([*KNOWN, "unseen", "x" * 5000, "\0", "𝄞", "0", "-0"]) | st.text(max_size=8)
ODD_NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 2.0**53 + 2, 1e300, -1.7e308, 5e-324, 70.0, 18.0]) | st.floats(
    allow_nan=False, allow_infinity=False
)


def typed(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema: dict[str, Any] = dict.fromkeys(NUMBERS, pl.Float64) | dict.fromkeys(TEXTS, pl.String)
    schema |= {f"{name}@values": pl.List(pl.String) for name in LISTS} | {"tags@weights": pl.List(pl.Float32)}
    return pl.DataFrame(rows, schema=schema)


@st.composite
def odd_row(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {name: draw(st.none() | ODD_NUMBERS) for name in NUMBERS}
    row |= {name: draw(st.none() | ODD_TEXTS) for name in TEXTS}
    row |= {
        f"{name}@values": draw(st.none() | st.lists(st.none() | ODD_TEXTS, min_size=1, max_size=4)) for name in LISTS
    }
    values = row["tags@values"]
    weight = st.none() | st.floats(0, 1e6, width=32)
    row["tags@weights"] = None if values is None else [draw(weight) for _ in values]
    return row


def train_rows() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for _ in range(300):
        row: dict[str, Any] = {name: None if draw.random() < 0.1 else float(draw.lognormal(2.0)) for name in NUMBERS}
        row |= {name: None if draw.random() < 0.1 else str(draw.choice(KNOWN)) for name in TEXTS}
        for name in LISTS:
            row[f"{name}@values"] = [str(value) for value in draw.choice(KNOWN, draw.integers(1, 4))]
        row["tags@weights"] = [0.5] * len(row["tags@values"])
        rows.append(row)
    return typed(rows)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> FeaturePlan:
    frame = train_rows()
    return fit_plan(
        FEATURES,
        CROSSES,
        lambda: iter([frame]),
        spill_dir=tmp_path_factory.mktemp("spill"),
        reporter=Reporter(),
        total_rows=None,
    )


def encoder_of(plan: FeaturePlan) -> RowEncoder:
    single = [column for column in plan.index_columns if column.pooling is None]
    lists = [column for column in plan.index_columns if column.pooling is not None]
    encoder = RowEncoder.of(plan, single, plan.numeric_columns, lists)
    assert encoder is not None
    return encoder


@pytest.fixture(scope="module")
def encoder(plan: FeaturePlan) -> RowEncoder:
    return encoder_of(plan)


def require_alike(plan: FeaturePlan, encoder: RowEncoder, frame: pl.DataFrame) -> None:
    """Fails unless both encoders give the same columns, bit for bit, and the same counts of odd values."""
    values = frame.to_dict(as_series=False)
    few = encoder.encode(values, len(frame))
    assert few is not None
    encoded, expected = encoder.frame(few), plan.encode(frame)
    assert encoded.schema == pl.Schema({name: expected.schema[name] for name in encoded.columns})
    assert set(encoded.columns) == set(expected.columns)
    for name in encoded.columns:
        assert encoded[name].equals(expected[name], null_equal=True), (name, encoded[name], expected[name])
    assert encoder.count_unseen(values, few) == plan.count_unseen(frame, expected)


EMPTY = {
    **dict.fromkeys((*NUMBERS, *TEXTS, "tags@weights")),
    **{f"{name}@values": None for name in LISTS},
}


@given(st.lists(odd_row(), min_size=1, max_size=6))
@example([EMPTY])
@example([EMPTY, {**EMPTY, "tags@values": [None], "tags@weights": [None], "words@values": ["", None, "red"]}])
def test_both_encoders_give_the_same_indices_numbers_and_lists(
    plan: FeaturePlan, encoder: RowEncoder, rows: list[dict[str, Any]]
) -> None:
    require_alike(plan, encoder, typed(rows))


def test_both_encoders_agree_on_the_train_rows_themselves(plan: FeaturePlan, encoder: RowEncoder) -> None:
    require_alike(plan, encoder, train_rows())


def test_both_encoders_agree_at_and_beside_every_cut_point(plan: FeaturePlan, encoder: RowEncoder) -> None:
    cuts = {cut for number in plan.numerics for cut in (*number.cuts, *(number.bucket_cuts or ()))}
    cuts |= {cut for cross in plan.crosses for of_field in cross.cuts.values() for cut in of_field}
    beside = [x for cut in cuts for x in (cut, math.nextafter(cut, math.inf), math.nextafter(cut, -math.inf))]
    require_alike(plan, encoder, typed([{**EMPTY, **dict.fromkeys(NUMBERS, number)} for number in beside]))


def test_a_plan_without_lists_and_one_without_numbers_are_encoded_alike(tmp_path: Path) -> None:
    frame = train_rows()
    for settings in ({"categorical": ["color"]}, {"numeric": ["price"]}, {"multi_valued": ["topics"]}):
        features = FeatureSettings.model_validate(settings)
        plan = fit_plan(features, [], lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None)
        require_alike(plan, encoder_of(plan), frame.select(plan.required_columns()))


def test_a_number_that_is_not_finite_is_left_to_the_expressions(encoder: RowEncoder) -> None:
    values = typed([{**EMPTY, "price": math.nan}]).to_dict(as_series=False)
    assert encoder.encode(values, 1) is None


def test_vocabularies_too_large_for_dictionaries_have_no_encoder(
    plan: FeaturePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_rows, "MOST_VALUES", 3)
    assert RowEncoder.of(plan, plan.index_columns, plan.numeric_columns, ()) is None


def test_a_memo_makes_each_value_once_and_never_grows_beyond_its_limit() -> None:
    made: list[str] = []

    def length(text: str) -> int:
        made.append(text)
        return len(text)

    memo = Memo(length, most_keys=2)
    assert [memo[text] for text in ("a", "bb", "a", "ccc", "ccc")] == [1, 2, 1, 3, 3]
    assert made == ["a", "bb", "ccc"]
    assert len(memo) <= 2
