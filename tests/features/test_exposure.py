"""How many values of the rows to come will be new is what naive counting of the train rows says."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.features.exposure import (
    LEAST_SHOWN,
    MOST_SHOWN,
    MOST_SHOWN_AT_ALL,
    Exposure,
    ExposureCounts,
    late_from,
    shown_shares,
)
from widedeep.features.fields import FittedCategorical, FittedMultiValued
from widedeep.recipe.schema import FeatureSettings

Rows = list[str | None]
values = st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=1, max_size=60)


def fitted(name: str, columns: list[Rows], least: int, shared: str | None = None) -> FittedCategorical:
    counts = Counter(value for rows in columns for value in rows if value is not None)
    known = sorted((value for value in counts if counts[value] >= least), key=lambda value: (-counts[value], value))
    vocabulary = pl.DataFrame(
        {"value": known, "count": [counts[value] for value in known]},
        schema={"value": pl.String, "count": pl.Int64},
    )
    return FittedCategorical(name, name, None, shared, None, 0, vocabulary, len(known))


def exposures(
    fields: list[FittedCategorical],
    settings: list[dict[str, Any]],
    encoded: pl.DataFrame,
    late: np.ndarray | None,
    cuts: list[int] | None = None,
) -> dict[str, Exposure]:
    features = FeatureSettings.model_validate({"categorical": settings})
    counts = ExposureCounts(fields, features, by_time=late is not None)
    bounds = [0, *sorted(cuts or []), len(encoded)]
    for start, stop in pairwise(bounds):
        counts.add(encoded[start:stop], None if late is None else late[start:stop])
    return counts.result()


def naive_by_time(rows: Rows, late: list[bool], early_counts: Counter[str], known: set[str], least: int) -> float:
    late_rows = [value for value, is_late in zip(rows, late, strict=True) if is_late]
    new = [value for value in late_rows if value is not None and (value not in known or early_counts[value] < least)]
    return len(new) / len(late_rows)


@given(values, st.integers(1, 3), st.data())
def test_by_time_late_rows_are_set_against_early_ones_in_whatever_blocks(
    rows: Rows, least: int, data: st.DataObject
) -> None:
    late = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)).filter(any))
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=3))
    field = fitted("a", [rows], least)
    encoded = pl.DataFrame({"a": pl.Series(rows, dtype=pl.String)}).select(field.index())
    found = exposures([field], [{"column": "a", "min_count": least}], encoded, np.array(late), cuts)["a"]
    early = Counter(v for v, is_late in zip(rows, late, strict=True) if v is not None and not is_late)
    known = set(field.vocabulary["value"])
    assert found.expected == pytest.approx(naive_by_time(rows, late, early, known, least))
    assert found.missing == pytest.approx(rows.count(None) / len(rows))
    assert found.unknown == pytest.approx(sum(v is not None and v not in known for v in rows) / len(rows))


@given(values, values, st.integers(1, 3), st.data())
def test_fields_of_one_vocabulary_have_been_seen_where_any_of_them_was(
    first: Rows, second: Rows, least: int, data: st.DataObject
) -> None:
    size = min(len(first), len(second))
    first, second = first[:size], second[:size]
    late = data.draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    both = [fitted(name, [first, second], least, "v") for name in ("a", "b")]
    frame = pl.DataFrame({"a": pl.Series(first, dtype=pl.String), "b": pl.Series(second, dtype=pl.String)})
    encoded = frame.select(field.index() for field in both)
    settings = [{"column": name, "min_count": least, "vocabulary": "v"} for name in ("a", "b")]
    found = exposures(both, settings, encoded, np.array(late))
    early = Counter(
        v for rows in (first, second) for v, is_late in zip(rows, late, strict=True) if v is not None and not is_late
    )
    known = set(both[0].vocabulary["value"])
    for name, rows in (("a", first), ("b", second)):
        assert found[name].expected == pytest.approx(naive_by_time(rows, late, early, known, least))


@given(values, st.integers(1, 3))
def test_without_time_the_chance_of_a_new_value_is_that_of_good_and_turing(rows: Rows, least: int) -> None:
    field = fitted("a", [rows], least)
    encoded = pl.DataFrame({"a": pl.Series(rows, dtype=pl.String)}).select(field.index())
    found = exposures([field], [{"column": "a", "min_count": least}], encoded, None)["a"]
    times_seen = Counter(Counter(value for value in rows if value is not None).values())
    wanted = sum((c + 1) * times_seen[c + 1] for c in range(least)) / len(rows)
    assert found.expected == pytest.approx(wanted)
    assert found.by == "counts"


def test_good_and_turing_foresee_the_new_values_of_rows_drawn_from_the_same_people() -> None:
    draw = np.random.default_rng(1)
    people = draw.zipf(1.3, size=40_000) % 20_000
    train, later = people[:20_000].astype(str).tolist(), people[20_000:].astype(str).tolist()
    field = fitted("a", [train], 2)
    found = exposures([field], [{"column": "a"}], pl.DataFrame({"a": train}).select(field.index()), None)["a"]
    new = 1.0 - np.isin(later, field.vocabulary["value"].to_list()).mean()
    assert found.expected == pytest.approx(new, abs=0.01)


def test_values_left_out_by_max_size_stay_as_unknown_as_they_are() -> None:
    rows: Rows = ["a"] * 9 + ["b"] * 8 + ["c"] * 7
    field = fitted("a", [rows], 8)  # as `max_size: 2` would leave it
    encoded = pl.DataFrame({"a": rows}).select(field.index())
    found = exposures([field], [{"column": "a", "min_count": 2, "max_size": 2}], encoded, None)["a"]
    assert found.expected == found.unknown == 7 / 24
    assert found.shown() == 0.0


def test_values_of_lists_count_one_by_one_and_hashed_fields_have_none_that_are_unknown() -> None:
    listed = FittedMultiValued(
        "tags", "tags", None, None, None, 0, pl.DataFrame({"value": ["x", "y"], "count": [3, 2]}), 2, None, "mean"
    )
    hashed = FittedCategorical("h", "h", None, None, 10, 0, pl.DataFrame({"value": [], "count": []}), 10)
    encoded = pl.DataFrame({"tags": pl.Series([[2, 3], [2], [0], [2, 1, 3]], dtype=pl.List(pl.Int32))})
    features = FeatureSettings.model_validate(
        {"multi_valued": ["tags"], "categorical": [{"column": "h", "buckets": 10}]}
    )
    counts = ExposureCounts([hashed, listed], features, by_time=True)
    counts.add(encoded, np.array([False, False, False, True]))
    # Of the three late values one is unknown, one (index 3) was seen once before, one twice.
    assert counts.result() == {"tags": Exposure(missing=1 / 7, unknown=1 / 7, expected=2 / 3, by="time")}


times = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=40)


@given(times, st.integers(1, 7))
def test_late_rows_are_a_fifth_at_least_and_rows_of_one_instant_stay_together(of_rows: list[float], rows: int) -> None:
    def blocks() -> list[np.ndarray]:
        return [np.array(of_rows[start : start + rows]) for start in range(0, len(of_rows), rows)]

    cut = late_from(blocks)
    if len(set(of_rows)) == 1:
        assert cut is None
        return
    assert cut in of_rows
    early = [time for time in of_rows if time < cut]
    assert 0 < len(early) < len(of_rows)
    first = min(of_rows)
    fewest = len(of_rows) - int(0.8 * len(of_rows))
    # Only where the first instant alone reaches into the last fifth are fewer rows late.
    assert len(of_rows) - len(early) >= fewest or early.count(first) == len(early)


@given(
    st.floats(0, 1).flatmap(lambda m: st.tuples(st.just(m), st.floats(0, 1 - m))),
    st.floats(0, 1),
)
def test_shown_values_and_rare_ones_together_are_as_many_as_will_be_new(
    shares: tuple[float, float], expected: float
) -> None:
    missing, unknown = shares
    share = Exposure(missing, unknown, expected, "time").shown()
    known = 1.0 - missing - unknown
    assert share == 0.0 or LEAST_SHOWN <= share <= MOST_SHOWN
    if LEAST_SHOWN < share < MOST_SHOWN:
        assert unknown + share * known == pytest.approx(expected)
    if share == 0.0 and known > 0.0:
        assert expected <= unknown + LEAST_SHOWN * known + 1e-12


def test_a_number_is_the_share_for_every_field_and_zero_shows_none() -> None:
    few, many = Exposure(0.0, 0.1, 0.1, "time"), Exposure(0.2, 0.0, 0.4, "counts")
    assert shown_shares({"few": few, "many": many}, "auto") == {"many": MOST_SHOWN}
    assert shown_shares({"few": few, "many": many}, 0.55) == pytest.approx({"few": 0.5, "many": 0.6875})
    assert shown_shares({"few": few, "many": many}, 0.0) == {}
    assert many.shown(0.99) == MOST_SHOWN_AT_ALL
