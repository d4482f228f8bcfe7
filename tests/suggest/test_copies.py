"""Columns that say the same in other words, among many whose values all differ."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.suggest import look as look_module
from widedeep.suggest.look import ColumnLook, _same, _without_copies

ROWS = 40


def looked_at(frame: pl.DataFrame) -> list[ColumnLook]:
    return [ColumnLook(name, "number", distinct=frame[name].drop_nulls().n_unique()) for name in frame.columns]


def pairwise(frame: pl.DataFrame) -> dict[str, str]:
    """The rule, read literally: a column is a copy of the first one before it that is kept and says the same."""
    kept: list[str] = []
    copies = {}
    for name in frame.columns:
        raw = frame[name]
        distinct = raw.drop_nulls().n_unique()
        alike = (
            other
            for other in kept
            if frame[other].drop_nulls().n_unique() == distinct
            and frame[other].is_first_distinct().equals(raw.is_first_distinct())
            and _same(frame[other], raw, distinct)
        )
        first = next(alike, None)
        if first is None:
            kept.append(name)
        else:
            copies[name] = first
    return copies


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), values=st.sampled_from([2, 3, 39, 1000]))
def test_the_copies_found_are_those_that_a_comparison_of_all_pairs_finds(seed: int, values: int) -> None:
    random = np.random.default_rng(seed)
    numbers = random.integers(0, values, ROWS)
    holes = pl.Series(random.random(ROWS) < 0.1)
    frame = pl.DataFrame(
        {
            "ids": numbers,
            "texts": [str(number) for number in numbers],
            "renamed": [f"n{number}" for number in numbers],
            "other": random.integers(0, values, ROWS),
            "floats": numbers.astype(float),
            "days": [date(2024, 1, 1) + timedelta(days=int(number)) for number in numbers],
            "zeros": np.where(numbers == 0, -0.0, numbers),
        }
    ).with_columns(holed=pl.when(~holes).then(pl.col("ids")), holed_texts=pl.when(~holes).then(pl.col("renamed")))
    found = {
        column.name: column.why.split("says the same as ")[1].split(",")[0]
        for column in _without_copies(looked_at(frame), frame)
        if column.nature == "left_out"
    }
    assert found == pairwise(frame)


def test_a_column_is_compared_with_few_others_though_all_values_of_all_columns_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    monkeypatch.setattr(look_module, "_same", lambda *columns: calls.append(columns) or _same(*columns))
    random = np.random.default_rng(0)
    frame = pl.DataFrame({f"x{number}": random.permutation(ROWS) for number in range(300)})
    assert not [c for c in _without_copies(looked_at(frame), frame) if c.nature == "left_out"]
    assert len(calls) <= 300
