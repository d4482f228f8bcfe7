"""Which fields discovery crosses, in which codes, of which rows: train rows only."""

import shutil
from collections import Counter
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_logs import log, texts, train_rows, typed_dir

from widedeep.discovery import fields as discovery_fields
from widedeep.discovery.fields import (
    GRANULARITIES,
    CrossField,
    TrainRows,
    cell_codes,
    count_combinations,
    cross_column,
    read_train_rows,
)
from widedeep.features.fit import fit_plan
from widedeep.lists import Lists
from widedeep.memory.columns import CodeColumn, ListColumn, split
from widedeep.reporting import Reporter
from widedeep.table.parts import read_typed

ROWS = 300
FEATURES = {
    "categorical": ["color", {"column": "user", "buckets": 7}],
    "multi_valued": ["tags"],
    "numeric": ["views", {"column": "price", "buckets": 5, "clip": [None, 2.5]}],
}


def columns(seed: int = 0, rows: int = ROWS) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {
        "color": [["red", "blue", None, "seen once"][k] for k in [3, *draw.integers(0, 3, rows - 1)]],
        "user": texts(draw.integers(0, 40, rows)),
        "tags": [
            [["a", "b", "c"], ["b"], [], None, ["only here", "a"]][k] for k in [4, *draw.integers(0, 4, rows - 1)]
        ],
        "price": [None if draw.random() < 0.1 else float(x) for x in draw.lognormal(size=rows)],
        "views": [float(x) for x in np.where(draw.random(rows) < 0.6, 0.0, draw.normal(size=rows))],
        "when": draw.permutation(rows) // 2,
        "importance": draw.integers(1, 4, rows).astype(np.float64),
        "y": draw.integers(0, 2, rows),
    }


def typed_train(folder: Path) -> pl.DataFrame:
    return read_typed(folder, "train")


def test_codes_of_values_go_by_falling_count_then_value_and_those_seen_once_have_none(tmp_path: Path) -> None:
    table = {"color": ["b", "b", "a", "a", "c", "c", "c", "alone", None, None], "k": ["x"] * 10, "y": [0, 1] * 5}
    data = train_rows(log(tmp_path, table, {"categorical": ["color", "k"]}))
    color, constant = data.fields
    assert color.codes.tolist() == [3, 3, 2, 2, 0, 0, 0, -1, 1, 1]
    assert color.size == 4
    assert (constant.codes.tolist(), constant.size) == ([0] * 10, 1)


def test_a_missing_or_empty_list_holds_the_missing_value_alone(tmp_path: Path) -> None:
    table = {"tags": [["a", "b"], ["b"], [], None, ["c", "a"]], "k": ["x"] * 5, "y": [0, 1, 0, 1, 0]}
    data = train_rows(log(tmp_path, table, {"multi_valued": ["tags"], "categorical": ["k"]}))
    tags = data.by_name["tags"]
    assert isinstance(tags.codes, Lists)
    assert tags.codes.lengths.tolist() == [2, 1, 1, 1, 2]
    codes = tags.codes.values
    missing = codes[3]
    assert codes[4] == missing >= 0
    assert codes[0] == codes[6]  # a
    assert codes[1] == codes[2]  # b
    assert codes[5] == -1  # c
    assert len(set(codes.tolist())) == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_are_cut_as_the_plan_cuts_them(seed: int, tmp_path: Path) -> None:
    loaded = log(tmp_path, columns(seed), FEATURES)
    frame = typed_train(typed_dir(loaded))
    data = train_rows(loaded)
    for name, granularity in [*product(["views", "price"], GRANULARITIES), ("price", 5)]:
        features = {**FEATURES, "numeric": [{"column": "views"}, {"column": "price", "clip": [None, 2.5]}]}
        for number in features["numeric"]:
            number["buckets"] = granularity
        recipe = log(tmp_path, columns(seed), features).recipe
        plan = fit_plan(
            recipe.features, (), lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None
        )
        (number,) = (one for one in plan.numerics if one.name == name)
        buckets = frame.select(number.bucket().alias("b"))["b"]
        field = data.by_name[name].at(granularity)
        # A missing number has the bucket behind the others.
        assert number.bucket_cuts is not None
        assert field.codes.tolist() == buckets.fill_null(len(number.bucket_cuts) + 1).to_list()
        assert field.size == len(number.bucket_cuts) + 2


def test_the_screening_granularity_comes_first_and_the_fields_own_is_one_of_them(tmp_path: Path) -> None:
    data = train_rows(log(tmp_path, columns(), FEATURES))
    price, color = data.by_name["price"], data.by_name["color"]
    assert [granularity for granularity, _ in price.cuts] == [*GRANULARITIES, 5]
    assert (price.first_granularity, price.buckets) == (GRANULARITIES[0], 5)
    assert color.first_granularity is None
    assert color.at(None) is color
    assert color.at(8) is color


def test_parts_of_a_time_and_its_age_are_fields_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    hours = draw.integers(0, 24, 50)
    table = {"at": [f"2024-01-02 {h:02}:00:00" for h in hours], "born": ["2024-01-01 00:00:00"] * 50, "y": [0, 1] * 25}
    features = {"date_time": [{"column": "at", "parts": ["hour"], "since": "born"}]}
    data = train_rows(log(tmp_path, table, features))
    assert list(data.by_name) == ["at.hour", "at.age"]
    hour = data.by_name["at.hour"].codes
    counts = Counter(hours.tolist())
    seen = {(h, c) for h, c in zip(hours.tolist(), hour.tolist(), strict=True) if counts[h] > 1}
    assert len(seen) == len({h for h, _ in seen}) == len({c for _, c in seen})
    age = data.by_name["at.age"].at(32)
    assert len(set(zip(hours.tolist(), age.codes.tolist(), strict=True))) == len(counts)


# --------------------------------------------------------------------------------------------- rows of the proof


WITH_TIME = {"data": {"time": "when", "split": {"kind": "random", "valid": 0.0, "test": 0.0}}}


def test_the_proof_is_the_later_third_where_the_recipe_has_a_time(tmp_path: Path) -> None:
    table = columns()
    data = train_rows(log(tmp_path, table, FEATURES, **WITH_TIME))
    when = table["when"]
    assert data.by_time
    assert abs(data.proof.sum() - ROWS / 3) <= 2
    assert when[data.proof].min() > when[~data.proof].max()


def test_the_proof_is_drawn_where_the_recipe_has_no_time(tmp_path: Path) -> None:
    data = train_rows(log(tmp_path, columns(), FEATURES))
    assert not data.by_time
    assert 0.25 < data.proof.mean() < 0.42
    assert np.flatnonzero(data.proof)[0] < 20


@pytest.mark.parametrize("same", ["all", "the last half"])
def test_the_proof_is_drawn_where_no_row_is_later_than_the_others(same: str, tmp_path: Path) -> None:
    table = columns()
    table["when"] = np.zeros(ROWS) if same == "all" else np.minimum(np.arange(ROWS), ROWS // 2)
    data = train_rows(log(tmp_path, table, FEATURES, **WITH_TIME))
    assert 0.25 < data.proof.mean() < 0.42
    assert not data.by_time


def test_label_and_weight_are_those_of_the_train_rows(tmp_path: Path) -> None:
    table = columns()
    data = train_rows(log(tmp_path, table, FEATURES, data={"weight": "importance"}))
    assert data.target.label.tolist() == table["y"].tolist()
    assert data.target.weight is not None
    assert data.target.weight.tolist() == table["importance"].tolist()


def test_rows_of_no_weight_are_left_out_before_the_proof_is_parted(tmp_path: Path) -> None:
    table = columns()
    table["importance"][table["when"] > ROWS // 4] = 0.0
    held = np.flatnonzero(table["importance"])
    loaded = log(tmp_path, table, FEATURES, data={**WITH_TIME["data"], "weight": "importance"})
    data = train_rows(loaded)
    assert data.rows is not None
    assert data.rows.tolist() == held.tolist()
    assert data.train_rows == ROWS
    assert abs(data.proof.sum() - len(held) / 3) <= 2
    assert data.target.label.tolist() == table["y"][held].tolist()
    assert data.target.weight is not None
    assert data.target.weight.tolist() == table["importance"][held].tolist()


def same(one: TrainRows, other: TrainRows) -> bool:
    def parts(data: TrainRows) -> list[bytes]:
        arrays = [data.proof, data.target.label]
        for field in data.fields:
            codes = field.codes
            arrays += [codes.values, codes.lengths] if isinstance(codes, Lists) else [codes]
            arrays += [buckets for _, buckets in field.cuts]
        return [array.tobytes() for array in arrays]

    return parts(one) == parts(other)


def test_only_train_rows_are_read(tmp_path: Path) -> None:
    split = {"split": {"kind": "random", "valid": 0.3, "test": 0.3}}
    loaded = log(tmp_path, columns(), FEATURES, data=split)
    typed = typed_dir(loaded)
    before = train_rows(loaded)
    assert before.train_rows < 0.6 * ROWS
    copy = tmp_path / "copy"
    shutil.copytree(typed, copy)
    for part in ("valid", "test"):
        shutil.rmtree(copy / part)
        assert (typed / part).is_dir()
    assert same(read_train_rows(loaded.recipe, copy), before)


def test_rows_of_a_large_table_are_sampled_for_every_field_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = log(tmp_path, columns(), FEATURES, data={"weight": "importance"})
    whole = train_rows(loaded)
    monkeypatch.setattr(discovery_fields, "MOST_CODES", 100 * len(whole.fields))
    data = train_rows(loaded)
    assert data.rows is not None
    assert (data.train_rows, data.num_rows) == (ROWS, len(data.rows))
    assert 70 < data.num_rows < 130
    assert (np.diff(data.rows) > 0).all()
    assert data.target.label.tolist() == whole.target.label[data.rows].tolist()
    assert data.target.weight is not None
    assert whole.target.weight is not None
    assert data.target.weight.tolist() == whole.target.weight[data.rows].tolist()
    for sampled, field in zip(data.fields, whole.fields, strict=True):
        taken = field.gather(data.rows)
        of_rows = [values_of(sampled, row) for row in range(data.num_rows)]
        expected = [values_of(taken, row) for row in range(data.num_rows)]
        assert list(map(len, of_rows)) == list(map(len, expected))
        # Other codes perhaps, but of the same rows: no code stands for two values.
        pairs = {(a, b) for a, b in zip(chain(*of_rows), chain(*expected), strict=True) if a >= 0}
        if not field.cuts:
            assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)


# --------------------------------------------------------------------------------------------------- combinations


@st.composite
def drawn_fields(draw: st.DrawFn) -> list[CrossField]:
    """Two to four fields of up to 12 rows, some of lists."""
    rows, made = draw(st.integers(1, 12)), []
    codes = st.integers(-1, 3)
    for number in range(draw(st.integers(2, 4))):
        if draw(st.booleans()):
            lists = draw(st.lists(st.lists(codes, min_size=1, max_size=3), min_size=rows, max_size=rows))
            lengths = np.array([len(one) for one in lists], dtype=np.int64)
            values = np.array([code for one in lists for code in one], dtype=np.int32)
            made.append(CrossField(str(number), Lists(values, lengths), 4))
        else:
            one = draw(st.lists(codes, min_size=rows, max_size=rows))
            made.append(CrossField(str(number), np.array(one, dtype=np.int32), 4))
    return made


def values_of(field: CrossField, row: int) -> list[int]:
    if not isinstance(field.codes, Lists):
        return [int(field.codes[row])]
    start = int(field.codes.lengths[:row].sum())
    return field.codes.values[start : start + int(field.codes.lengths[row])].tolist()


def num_rows(field: CrossField) -> int:
    return len(field.codes.lengths if isinstance(field.codes, Lists) else field.codes)


@given(drawn_fields())
@settings(max_examples=150)
def test_a_combination_has_one_code_wherever_it_stands_unless_it_occurs_once(fields: list[CrossField]) -> None:
    rows = num_rows(fields[0])
    held = [list(product(*(values_of(field, row) for field in fields))) for row in range(rows)]
    flat = [one for of_row in held for one in of_row]
    counts = Counter(one for one in flat if min(one) >= 0)
    cells, size = cell_codes(fields)
    codes = cells.values if isinstance(cells, Lists) else cells
    assert not isinstance(cells, Lists) or cells.lengths.tolist() == [len(one) for one in held]
    assert len(codes) == len(flat)
    by_code = {}
    for one, code in zip(flat, codes.tolist(), strict=True):
        assert (code >= 0) == (counts[one] > 1)
        if code >= 0:
            assert by_code.setdefault(code, one) == one
    frequent = [one for one, count in counts.items() if count > 1]
    assert (len(by_code), size) == (len(frequent), max(1, len(frequent)))
    # Codes go by falling count.
    assert [counts[by_code[code]] for code in sorted(by_code)] == sorted(
        (counts[one] for one in frequent), reverse=True
    )
    column = cross_column(fields)
    assert isinstance(column, ListColumn if isinstance(cells, Lists) else CodeColumn)
    for chunk, part in zip(
        split(column, [0, rows // 2, rows]).chunks, (held[: rows // 2], held[rows // 2 :]), strict=True
    ):
        inside = [one for of_row in part for one in of_row]
        assert count_combinations(chunk) == (len(inside), sum(counts[one] < 2 for one in inside))


@given(drawn_fields(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_taken_rows_are_those_rows_in_that_order(fields: list[CrossField], draw: Any) -> None:
    for field in fields:
        rows = num_rows(field)
        order = np.array([draw.randrange(rows) for _ in range(5)], dtype=np.int64)
        taken = field.gather(order)
        assert [values_of(taken, place) for place in range(5)] == [values_of(field, int(row)) for row in order]
