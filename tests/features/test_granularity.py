"""Crosses that cut a number more or less finely than its field does: fitted, encoded and kept like all else."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.fit import fit_plan
from widedeep.features.plan import FeaturePlan
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

CATEGORICAL = {"categorical": [{"column": "color", "min_count": 1}], "multi_valued": ["tags"]}


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "price": [None if draw.random() < 0.1 else float(x) for x in draw.lognormal(size=rows)],
            "views": draw.pareto(1.0, rows) * 100 - 20,
            "color": [["red", "blue", None][k] for k in draw.integers(0, 3, rows)],
            "tags@values": [["a", "b"][: 1 + k] for k in draw.integers(0, 2, rows)],
        },
        schema_overrides={"tags@values": pl.List(pl.String)},
    )


def fitted(
    frame: pl.DataFrame,
    spill_dir: Path,
    crosses: Sequence[dict[str, Any]],
    numeric: Sequence[Any] = ("price", {"column": "views", "transform": "log1p"}),
    block_rows: int = 10_000,
) -> FeaturePlan:
    def blocks() -> Iterator[pl.DataFrame]:
        return frame.iter_slices(block_rows)

    features = FeatureSettings.model_validate({"numeric": list(numeric), **CATEGORICAL})
    asked = [
        CrossSettings.model_validate(cross if "buckets" in cross else {"min_count": 1, **cross}) for cross in crosses
    ]
    return fit_plan(features, asked, blocks, spill_dir=spill_dir, reporter=Reporter(), total_rows=None)


@pytest.mark.parametrize("member", ["color", "tags"])
@pytest.mark.parametrize("buckets", [2, 8, 10_000])
def test_a_granularity_gives_the_cross_that_a_field_of_so_many_buckets_would_give(
    member: str, buckets: int, tmp_path: Path
) -> None:
    frame = table()
    fields = ["price", member]
    own = fitted(frame, tmp_path, [{"fields": fields}], [{"column": "price", "buckets": buckets}])
    cut = fitted(frame, tmp_path, [{"fields": fields, "granularity": {"price": buckets}}], ["price"])
    other = fitted(
        frame,
        tmp_path,
        [{"fields": fields, "granularity": {"price": buckets}}],
        [{"column": "price", "buckets": 3}],
    )
    name = own.crosses[0].name
    rows = table(100, seed=1)
    assert own.encode(rows)[name].equals(cut.encode(rows)[name])
    assert own.encode(rows)[name].equals(other.encode(rows)[name])
    assert own.crosses[0].vocabulary.equals(cut.crosses[0].vocabulary)
    assert [column.name for column in cut.index_columns] == ["color", "tags", name]


def test_a_missing_number_stays_a_value_of_its_own(tmp_path: Path) -> None:
    frame = pl.DataFrame({"price": [1.0, 2.0, 3.0, 4.0, None], "color": ["a"] * 5, "tags@values": [["t"]] * 5})
    plan = fitted(frame, tmp_path, [{"fields": ["price", "color"], "granularity": {"price": 2}}], ["price"])
    first, second, third, fourth, missing = plan.encode(frame)["color x price"]
    assert (first, third) == (second, fourth)
    assert {first, third, missing} == {2, 3, 4}


CROSSES: list[dict[str, Any]] = [
    {"fields": ["price", "color"], "granularity": {"price": 8}},
    {"fields": ["price", "views"], "granularity": {"views": 5, "price": 8}},
    {"fields": ["views", "color"], "granularity": {"views": 7}, "buckets": 50},
    {"fields": ["price", "tags"], "granularity": {"price": 4}},
    {"fields": ["views", "price", "color"], "granularity": {"views": 7, "price": 4}},
]
NUMERIC = [{"column": "price", "buckets": 3}, {"column": "views", "transform": "log1p"}]


def test_each_field_is_hashed_once_per_granularity_however_many_crosses_use_it(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path, [*CROSSES, {"fields": ["price", "color", "tags"]}], NUMERIC)
    # color, tags; price as the field cuts it, in 4 and in 8; views in 5 and in 7
    assert len(plan.member_hashes(plan.crosses)) == 7


@settings(max_examples=20)
@given(st.integers(1, 150), st.integers(0, 5))
def test_the_digest_is_the_same_for_any_blocks_and_row_order(
    tmp_path_factory: pytest.TempPathFactory, block_rows: int, seed: int
) -> None:
    spill = tmp_path_factory.mktemp("spill")
    shuffled = table().sample(fraction=1, shuffle=True, seed=seed)
    plans = [fitted(table(), spill, CROSSES, NUMERIC), fitted(shuffled, spill, CROSSES, NUMERIC, block_rows)]
    assert plans[0].digest == plans[1].digest


def test_encoding_is_per_row_whatever_the_chunks(tmp_path: Path) -> None:
    plan, rows = fitted(table(), tmp_path, CROSSES, NUMERIC), table(150, seed=3)
    whole = plan.encode(rows)
    assert whole.equals(pl.concat([plan.encode(part) for part in rows.iter_slices(37)]))


def test_a_saved_plan_keeps_the_cut_points_to_the_last_bit(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path, CROSSES, NUMERIC)
    plan.save(tmp_path / "plan")
    loaded = FeaturePlan.load(tmp_path / "plan")
    assert [cross.cuts for cross in loaded.crosses] == [cross.cuts for cross in plan.crosses]
    assert loaded.digest == plan.digest
    assert loaded.encode(table(50, seed=9)).equals(plan.encode(table(50, seed=9)))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "plan.json").read_bytes() == (tmp_path / "plan" / "plan.json").read_bytes()


def test_the_cut_points_are_part_of_the_digest_and_the_order_they_are_asked_in_is_not(tmp_path: Path) -> None:
    frame = table()

    def saved(place: str, **granularity: int) -> str:
        plan = fitted(frame, tmp_path, [{"fields": ["price", "views"], "granularity": granularity}], NUMERIC)
        plan.save(tmp_path / place)
        return (tmp_path / place / "plan.json").read_text()

    both = saved("a", price=8, views=5)
    assert both == saved("b", views=5, price=8)
    assert len({json.loads(text)["digest"] for text in (both, saved("c", views=5), saved("d", views=6))}) == 3


def test_a_plan_without_a_granularity_is_saved_as_it_was_before_there_was_any(tmp_path: Path) -> None:
    frame = pl.DataFrame({"price": [1.0, 2.0, None], "color": ["a", "b", "a"], "tags@values": [["t"]] * 3})
    plan = fitted(frame, tmp_path, [{"fields": ["price", "color"]}], [{"column": "price", "buckets": 2}])
    plan.save(tmp_path / "plan")
    (cross,) = json.loads((tmp_path / "plan" / "plan.json").read_text())["crosses"]
    assert cross == {"name": "color x price", "fields": ["color", "price"], "buckets": None, "distinct": 3}
    assert plan.digest == "06b8bf33a6dcdea21e8d3cc60b312e47"
