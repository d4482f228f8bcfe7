"""Hashed columns: `buckets: auto` chooses by its rule on train rows, and a hash leads back to the values behind it."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.errors import RecipeError
from widedeep.features import fit, fit_vocabularies
from widedeep.features.collisions import HashTraffic
from widedeep.features.fields import FIRST
from widedeep.features.fit import fit_plan
from widedeep.features.hashed_columns import HASH, HashedColumn, hashed_columns
from widedeep.features.inverse import values_of_hashes
from widedeep.features.plan import FeaturePlan
from widedeep.features.vocabulary import ValueCounts
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter


def features(buckets: int | str) -> FeatureSettings:
    return FeatureSettings.model_validate(
        {
            "numeric": [{"column": "price", "buckets": 4}],
            "categorical": [
                {"column": "color", "buckets": buckets},
                {"column": "seen", "buckets": buckets, "vocabulary": "item"},
                {"column": "bought", "buckets": buckets, "vocabulary": "item"},
                "shape",
            ],
            "multi_valued": [{"column": "tags", "buckets": buckets}],
        }
    )


def crosses(buckets: int | str) -> list[CrossSettings]:
    pairs = (["color", "shape"], ["price", "color"], ["tags", "shape"], ["shape", "tags", "price"])
    return [CrossSettings.model_validate({"fields": pair, "buckets": buckets}) for pair in pairs]


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    draw = random.Random(seed)

    def some(prefix: str, kinds: int) -> str | None:
        return None if draw.random() < 0.1 else f"{prefix}{int(draw.paretovariate(0.8)) % kinds}"

    return pl.DataFrame(
        {
            "price": [None if draw.random() < 0.1 else round(draw.lognormvariate(1, 1), 2) for _ in range(rows)],
            "color": [some("c", 40) for _ in range(rows)],
            "seen": [some("i", 60) for _ in range(rows)],
            "bought": [some("i", 30) for _ in range(rows)],
            "shape": [some("s", 5) for _ in range(rows)],
            "tags@values": [
                [some("t", 30) for _ in range(draw.randint(1, 4))] if row % 9 else None for row in range(rows)
            ],
        },
        schema_overrides={"tags@values": pl.List(pl.String)},
    )


def fitted(frame: pl.DataFrame, spill_dir: Path, buckets: int | str, block_rows: int = 10_000) -> FeaturePlan:
    def blocks() -> Iterator[pl.DataFrame]:
        return frame.iter_slices(block_rows)

    return fit_plan(
        features(buckets), crosses(buckets), blocks, spill_dir=spill_dir, reporter=Reporter(), total_rows=None
    )


def traffic_of(plan: FeaturePlan, column: HashedColumn, frame: pl.DataFrame, spill_dir: Path) -> HashTraffic:
    counts = ValueCounts(pl.UInt64(), spill_dir)
    counts.add(column.values(plan, frame).select(HASH).collect()[HASH])
    return HashTraffic(counts)


def test_every_hashed_column_is_named_once_and_those_that_share_a_vocabulary_together(tmp_path: Path) -> None:
    columns = hashed_columns(fitted(table(), tmp_path, 8))
    assert [(column.name, column.kind, column.fields) for column in columns] == [
        ("color", "field", ("color",)),
        ("item", "field", ("seen", "bought")),
        ("tags", "field", ("tags",)),
        ("color x shape", "cross", ("color", "shape")),
        ("color x price", "cross", ("color", "price")),
        ("shape x tags", "cross", ("shape", "tags")),
        ("price x shape x tags", "cross", ("price", "shape", "tags")),
    ]


def test_auto_takes_the_least_power_of_two_below_the_limit_for_every_kind(tmp_path: Path) -> None:
    frame = table()
    plan = fitted(frame, tmp_path, "auto")
    columns = hashed_columns(plan)
    assert len(columns) == 7
    for column in columns:
        traffic = traffic_of(plan, column, frame, tmp_path)
        assert traffic.collisions(column.buckets).traffic < 0.01, column.name
        assert traffic.collisions(column.buckets // 2).traffic >= 0.01, column.name
    seen, bought = (field.buckets for field in plan.categoricals if field.shared == "item")
    assert seen == bought


def test_traffic_leaves_out_missing_values_of_fields_but_not_of_a_cross(tmp_path: Path) -> None:
    frame = table()
    plan = fitted(frame, tmp_path, 8)
    rows = {column.name: traffic_of(plan, column, frame, tmp_path).rows for column in hashed_columns(plan)}
    assert rows["color"] == frame["color"].count()
    assert rows["item"] == frame["seen"].count() + frame["bought"].count()
    assert rows["tags"] == frame["tags@values"].explode().count()
    assert rows["color x shape"] == len(frame)
    assert rows["shape x tags"] == len(frame["tags@values"].explode())


@settings(max_examples=15)
@given(st.integers(1, 400), st.randoms(use_true_random=False))
def test_auto_gives_one_plan_for_any_blocks_and_row_order(
    tmp_path_factory: pytest.TempPathFactory, block_rows: int, chance: random.Random
) -> None:
    spill_dir = tmp_path_factory.mktemp("spill")
    frame = table()
    shuffled = frame[chance.sample(range(len(frame)), len(frame))]
    assert fitted(shuffled, spill_dir, "auto", block_rows).digest == fitted(frame, spill_dir, "auto").digest


def test_auto_leaves_no_file_behind_and_chooses_the_same_when_counts_go_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(table(), tmp_path, "auto")
    for module in (fit, fit_vocabularies):
        monkeypatch.setattr(module, "SPILL_ENTRIES", 20)
    assert fitted(table(), tmp_path, "auto", block_rows=30).digest == whole.digest
    assert list(tmp_path.iterdir()) == []


def test_a_plan_keeps_the_numbers_that_auto_chose(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path, "auto")
    plan.save(tmp_path / "plan")
    loaded = FeaturePlan.load(tmp_path / "plan")
    assert loaded.digest == plan.digest
    assert hashed_columns(loaded) == hashed_columns(plan)
    new = table(50, seed=3)
    assert loaded.encode(new).equals(plan.encode(new))


def test_auto_that_finds_no_number_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widedeep.features.collisions._MOST_BITS", 3)
    with pytest.raises(
        RecipeError, match=r"features: color: `buckets: auto`: no number .* name a number, or keep a voc"
    ):
        fitted(table(), tmp_path, "auto")


@pytest.mark.parametrize("buckets", [2, 16, "auto"])
def test_the_values_that_a_hash_leads_back_to_have_that_hash_and_its_bucket(buckets: int | str, tmp_path: Path) -> None:
    frame = table()
    plan = fitted(frame, tmp_path, buckets)
    columns = hashed_columns(plan)
    wanted = {
        column: {
            value
            for bucket in traffic_of(plan, column, frame, tmp_path).collisions(column.buckets).worst
            for value, _ in bucket.top
        }
        for column in columns
    }
    found = values_of_hashes(plan, wanted, frame.iter_slices(37))
    for column in columns:
        assert found[column].keys() == wanted[column]
        for value, members in found[column].items():
            indices = set(plan.encode(_row(plan, column, members))[_encoded_name(column)].explode())
            assert indices == {value % column.buckets + FIRST}, (column.name, members)


def _encoded_name(column: HashedColumn) -> str:
    return column.name if column.kind == "cross" else column.fields[0]


def _row(plan: FeaturePlan, column: HashedColumn, members: dict[str, str | None]) -> pl.DataFrame:
    """One typed row with these values, as they are shown."""
    row: dict[str, Any] = dict.fromkeys(table(1).columns)
    for name, text in members.items():
        match name:
            case "tags":
                row["tags@values"] = None if text is None else [text]
            case "price":
                row["price"] = None if text is None else _inside(text, plan.numerics[0].bucket_cuts or ())
            case _:
                row[name] = text
    return pl.DataFrame([row], schema=table(1).schema)


def _inside(text: str, cuts: tuple[float, ...]) -> float:
    """A number of the bucket that the text describes: `< 3`, `[3, 12.5)` or `>= 12.5`."""
    edge = float(text.strip("<>=[ ").partition(",")[0])
    assert any(abs(edge - cut) < 1e-9 for cut in cuts)
    return edge - 0.01 if text.startswith("<") else edge


def test_a_missing_member_is_told_from_every_value(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {**{name: [None] * 3 for name in table(1).columns}, "color": ["", None, "x"]}, schema=table(1).schema
    )
    plan = fitted(frame, tmp_path, 1)
    (column,) = (column for column in hashed_columns(plan) if column.name == "color x shape")
    (bucket,) = traffic_of(plan, column, frame, tmp_path).collisions(1).worst
    found = values_of_hashes(plan, {column: {value for value, _ in bucket.top}}, [frame])
    shown = sorted(str(members["color"]) for members in found[column].values())
    assert shown == ["", "None", "x"]
    assert all(members["shape"] is None for members in found[column].values())


def test_looking_up_reads_no_further_than_it_must(tmp_path: Path) -> None:
    frame = table()
    plan = fitted(frame, tmp_path, 8)
    column = hashed_columns(plan)[0]
    first = column.values(plan, frame[:20]).collect()[HASH][0]

    def blocks() -> Iterator[pl.DataFrame]:
        yield frame[:20]
        yield frame[20:40]
        raise AssertionError("read on")

    assert values_of_hashes(plan, {column: {first}}, blocks())[column].keys() == {first}
