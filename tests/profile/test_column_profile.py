"""The profile of a typed column: what it holds, what it says of the label, how far it moved."""

import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
import pytest

from widedeep.profile.columns import ColumnProfile, TopValue, profile_columns
from widedeep.profile.drift import drift
from widedeep.profile.row_sample import RowSample
from widedeep.source.coded import CodedRows
from widedeep.table.typed_columns import LABEL, Role, TypedColumn

ROWS = 200


def sample_of(values: Sequence[Any] | pl.Series, label: Sequence[float], max_rows: int = 10_000) -> RowSample:
    sample = RowSample(max_rows)
    sample.add(CodedRows(pl.DataFrame({LABEL: pl.Series(label, dtype=pl.Float32), "x": values})))
    return sample


def profiled(
    train: Sequence[Any] | pl.Series,
    label: Sequence[float] | None = None,
    *,
    test: Sequence[Any] | pl.Series | None = None,
    test_label: Sequence[float] | None = None,
    role: Role = "text",
    binary: bool = True,
    max_rows: int = 10_000,
    keep_negatives: float = 1.0,
) -> ColumnProfile:
    label = [row % 2 for row in range(len(train))] if label is None else label
    samples = {"train": sample_of(train, label, max_rows)}
    if test is not None:
        samples["test"] = sample_of(test, test_label or [row % 2 for row in range(len(test))])
    columns = [TypedColumn(LABEL, "y", "label"), TypedColumn("x", "x", role)]
    return profile_columns(columns, samples, binary=binary, keep_negatives=keep_negatives)["x"]


# --------------------------------------------------------------------------------------------------------------- texts


def test_the_most_frequent_texts_come_first_and_equal_ones_in_order() -> None:
    texts = [f"v{number:02}" for number in range(12) for _ in range(4)] + ["top"] * 6 + [None] * 46
    found = profiled(texts, [1] * 48 + [0, 0, 0, 0, 0, 1] + [1] * 46)
    assert found.type == "text"
    assert (found.distinct, found.distinct_is) == (13, "exact")
    assert found.top[0] == TopValue("top", 0.06, pytest.approx(1 / 6))
    assert [one.value for one in found.top[1:]] == [f"v{number:02}" for number in range(9)]
    assert all((one.share, one.label_rate) == (0.04, 1.0) for one in found.top[1:])
    assert found.quantiles is None


def test_long_texts_are_cut_to_200_characters() -> None:
    exact, longer = "a" * 200, "b" * 201
    assert [one.value for one in profiled([exact, longer]).top] == [exact, "b" * 199 + "…"]


def test_label_rates_are_those_of_values_with_thirty_rows() -> None:
    texts = ["a"] * 30 + ["b"] * 60 + ["c"] * 29 + [None] * 4
    label = [1] * 3 + [0] * 27 + [1] * 30 + [0] * 30 + [1] * 29 + [1, 0, 0, 0]
    rates = profiled(texts, label).label_rates
    assert rates is not None
    assert (rates.lowest, rates.highest, rates.missing) == (0.1, 0.5, 0.25)
    rates = profiled(["a", "b"]).label_rates
    assert rates is not None
    assert (rates.lowest, rates.highest, rates.missing) == (None, None, None)


def test_a_lists_values_are_counted_once_for_each_row() -> None:
    lists = pl.Series([["a", "b", "a"], ["b"], None, ["b", "c"]])
    found = profiled(lists, [1, 0, 1, 0], role="values")
    assert (found.type, found.distinct, found.unseen) == ("list", 3, None)
    assert found.top == (TopValue("b", 0.75, pytest.approx(1 / 3)), TopValue("a", 0.25, 1.0), TopValue("c", 0.25, 0.0))
    assert found.label_rates is not None
    assert found.label_rates.missing == 1.0


# ------------------------------------------------------------------------------------------------------------- numbers


def test_numbers_have_quantiles_that_rows_hold() -> None:
    found = profiled([*(float(number) for number in range(200, 0, -1)), None, None], role="number")
    assert (found.type, found.distinct) == ("number", 200)
    assert found.quantiles == {"min": 1, "1%": 2, "25%": 50, "50%": 100, "75%": 150, "99%": 198, "max": 200}
    assert profiled(pl.Series([None, None], dtype=pl.Float64), role="number").quantiles is None


def test_the_most_frequent_numbers_come_first_and_equal_ones_from_the_lowest() -> None:
    numbers = [float(number) for number in range(12) for _ in range(2)] + [-1.0] * 6
    label = [0] * 24 + [1] * 3 + [0] * 3
    found = profiled(numbers, label, role="number")
    assert found.top[0] == TopValue(-1.0, 0.2, 0.5)
    assert [one.value for one in found.top[1:]] == [float(number) for number in range(9)]


def test_label_rates_of_numbers_are_those_of_ten_buckets() -> None:
    numbers = [float(number) for number in range(400)]
    label = [number // 40 / 10 for number in range(400)]
    rates = profiled([*numbers, None], [*label, 5.0], role="number", binary=False).label_rates
    assert rates is not None
    assert (rates.lowest, rates.highest, rates.missing) == (0.0, pytest.approx(0.9), 5.0)


# ------------------------------------------------------------------------------------------------- the label and roles


def test_how_well_a_column_predicts_stands_under_the_figure_of_its_label() -> None:
    draw = random.Random(0)
    label = [int(draw.random() < 0.4) for _ in range(ROWS)]
    binary = profiled([str(one) for one in label], label)
    assert (binary.alone_auc, binary.alone_r2, binary.leak) == (1.0, None, "held-out AUC 1.000 alone")
    amount = profiled([str(one) for one in label], label, binary=False)
    assert (amount.alone_auc, amount.alone_r2) == (None, 1.0)
    lists = profiled(pl.Series([[str(one)] for one in label]), label, role="values", binary=False)
    assert (lists.alone_auc, lists.alone_r2) == (None, None)
    few = profiled(["a"] * 18 + ["b"] * 18, [0] * 18 + [1] * 18)
    assert (few.alone_auc, few.leak) == (None, "each of its values has one label only")


@pytest.mark.parametrize("role", ["weight", "time", "group"])
def test_what_is_no_input_has_no_figures_of_the_label_and_no_drift(role: Role) -> None:
    values = pl.Series(["a", "b"] * 100) if role == "group" else pl.Series([1.0, 2.0] * 100)
    other = pl.Series(["c"] * 200) if role == "group" else pl.Series([9.0] * 200)
    found = profiled(values, test=other, role=role)
    assert (found.label_rates, found.alone_auc, found.leak, found.drift) == (None, None, None, {})
    assert (found.drift_by_new, found.unseen) == (None, None)
    assert {one.label_rate for one in found.top} == {None}


def test_the_labels_own_classes_are_known_and_its_drift_is_told() -> None:
    samples = {"train": sample_of(["a"] * 200, [0, 1] * 100, 50), "test": sample_of(["a"] * 200, [1] * 199 + [0])}
    found = profile_columns([TypedColumn(LABEL, "y", "label")], samples, binary=True)[LABEL]
    assert (found.distinct, found.distinct_is) == (2, "exact")
    assert found.drift["test"] > 0.5
    number = profile_columns([TypedColumn(LABEL, "y", "label")], samples, binary=False)[LABEL]
    assert number.distinct_is == "at least"


def test_weights_of_lists_have_no_profile() -> None:
    columns = [TypedColumn(LABEL, "y", "label"), TypedColumn("x", "x", "weights")]
    assert list(profile_columns(columns, {"train": sample_of([1.0, 2.0], [0, 1])}, binary=True)) == [LABEL]


def test_in_a_sample_values_are_counted_as_at_least() -> None:
    found = profiled([f"v{row}" for row in range(ROWS)], max_rows=50, test=["v1"] * 50)
    assert (found.distinct, found.distinct_is, found.unseen) == (50, "at least", None)


# --------------------------------------------------------------------------------------------------------------- drift


def test_values_that_no_train_row_has_are_counted_in_the_other_splits() -> None:
    found = profiled(["a", "b"] * 100, test=["a"] * 50 + ["new"] * 30 + [None] * 20)
    assert found.unseen == {"test": 0.3}
    assert profiled(["a"] * 9, test=["a"] * 9).unseen == {"test": 0.0}


def test_drift_is_that_of_frequent_values_missing_ones_and_all_the_rest() -> None:
    train = ["a"] * 100 + ["b"] * 60 + [None] * 40
    test = ["a"] * 10 + ["b"] * 60 + [None] * 20 + ["c"] * 10
    found = profiled(train, test=test)
    expected = drift(np.array([100, 60, 0, 40]), np.array([10, 60, 10, 20]))
    assert expected > 0.3
    assert found.drift == {"test": pytest.approx(expected)}
    # Beyond the twenty most frequent of either split values are one cell.
    train = [f"t{number}" for number in range(30) for _ in range(2)] + ["a"] * 40
    test = [f"s{number}" for number in range(30) for _ in range(2)] + ["a"] * 40
    frequent = sorted(f"t{number}" for number in range(30))[:19], sorted(f"s{number}" for number in range(30))[:19]
    cells = [(40, 40), *((2, 0) for _ in frequent[0]), *((0, 2) for _ in frequent[1]), (22, 22)]
    before, after = np.array(cells).T
    assert profiled(train, test=test).drift == {"test": pytest.approx(drift(before, after))}


def test_drift_of_numbers_is_that_of_ten_buckets_and_missing_ones() -> None:
    train = [float(number) for number in range(300)]
    test = [float(number) for number in range(150, 300)] + [None] * 150
    before, after = np.array([30] * 10 + [0]), np.array([0] * 5 + [30] * 5 + [150])
    found = profiled(train, test=test, role="number")
    assert found.drift == {"test": pytest.approx(drift(before, after))}
    assert (found.drift_by_new, found.unseen) == (None, None)


@pytest.mark.parametrize(
    ("test", "by_new"),
    [
        (["a"] * 50 + ["b"] * 50, 0.0),
        (["a"] * 40 + ["b"] * 50 + ["new"] * 10, 1.0),
        (["a"] * 30 + ["b"] * 60 + ["new"] * 10, 0.5),
        (["a"] * 90 + ["b"] * 10, 0.0),
        (["new"] * 100, 1.0),
    ],
)
def test_of_what_rose_the_part_with_new_values_is_told(test: list[str], by_new: float) -> None:
    found = profiled(["a"] * 100 + ["b"] * 100, test=test).drift_by_new
    assert found == {"test": pytest.approx(by_new)}


def test_held_out_rows_are_thinned_as_train_rows_were() -> None:
    # Positives have `p`, negatives `n`; train was left with a tenth of its negatives.
    train, label = ["p"] * 100 + ["n"] * 100, [1] * 100 + [0] * 100
    test, test_label = ["p"] * 100 + ["n"] * 1000, [1] * 100 + [0] * 1000
    thinned = profiled(train, label, test=test, test_label=test_label, keep_negatives=0.1)
    assert thinned.drift["test"] < 0.1
    assert profiled(train, label, test=test, test_label=test_label).drift["test"] > 0.5
    # Of new values all rows are counted.
    new = profiled(train, label, test=["p"] * 100 + ["m"] * 900, test_label=[1] * 100 + [0] * 900, keep_negatives=0.1)
    assert new.unseen == {"test": 0.9}


def test_a_profile_survives_json() -> None:
    for found in (profiled(["a", "b"] * 100, test=["a"]), profiled([1.0, 2.0] * 100, test=[1.0], role="number")):
        assert ColumnProfile.from_json(asdict(found)) == found
    assert ColumnProfile.from_json(asdict(profiled([1.0, 2.0], role="weight"))).label_rates is None
