"""Multi-valued fields and their crosses: encoding against a slow literal reading, vocabularies that are shared, batches."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from coded_frames import coded
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.encoded.batches import BatchStream
from widedeep.encoded.store import EncodedStore, write_stores
from widedeep.features.fit import fit_plan
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import LABEL_COLUMN
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

FEATURES = {
    "categorical": [{"column": "city"}, {"column": "last", "vocabulary": "tag"}],
    "multi_valued": [
        {"column": "tags", "separator": "|", "weight_separator": ":", "vocabulary": "tag", "pooling": "sum"},
        {"column": "words", "separator": " ", "buckets": 5},
    ],
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "city": st.sampled_from(["x", "y", None]),
            "last": st.sampled_from(["a", "b", None]),
            "tags@values": st.none() | st.lists(st.sampled_from("abcd"), min_size=1, max_size=3),
            "words@values": st.none() | st.lists(st.sampled_from("pq"), min_size=1, max_size=2),
        }
    ),
    min_size=1,
    max_size=12,
)
SCHEMA = {
    "city": pl.String,
    "last": pl.String,
    "tags@values": pl.List(pl.String),
    "words@values": pl.List(pl.String),
}


def typed(rows) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    weights = [
        None if row["tags@values"] is None else [i + 0.5 for i, _ in enumerate(row["tags@values"])] for row in rows
    ]
    return frame.with_columns(pl.Series("tags@weights", weights, dtype=pl.List(pl.Float32)))


def fitted(frame: pl.DataFrame, spill_dir: Path, crosses=(), blocks=None) -> FeaturePlan:
    return fit_plan(
        FeatureSettings.model_validate(FEATURES),
        [CrossSettings.model_validate(cross) for cross in crosses],
        lambda: iter(blocks or [frame]),
        spill_dir=spill_dir,
        reporter=Reporter(),
        total_rows=None,
    )


CROSSES = [
    {"fields": ["tags", "city"], "min_count": 1},
    {"fields": ["words", "tags"], "min_count": 1},
    {"fields": ["city", "words"], "buckets": 11},
]


@settings(max_examples=40)
@given(ROWS)
def test_lists_and_their_crosses_are_encoded_as_read_row_by_row(tmp_path_factory, rows) -> None:
    frame = typed(rows)
    plan = fitted(frame, tmp_path_factory.mktemp("spill"), CROSSES)
    encoded = plan.encode(frame)
    vocabulary = dict(zip(plan.multi_valued[0].vocabulary["value"], range(2, 99), strict=False))
    seen: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows):
        tags, words = row["tags@values"] or [None], row["words@values"] or [None]
        assert encoded["tags"][number].to_list() == [0 if tag is None else vocabulary.get(tag, 1) for tag in tags]
        weights = [1.0] if tags == [None] else [i + 0.5 for i, _ in enumerate(tags)]
        assert encoded["tags\x01weights"][number].to_list() == weights
        crossed = encoded["city x tags"][number].to_list()
        assert encoded["city x tags\x01weights"][number].to_list() == weights
        both = encoded["tags x words"][number].to_list()
        assert len(crossed) == len(tags)
        assert len(both) == len(tags) * len(words)
        pairs = [("c", row["city"], tag) for tag in tags]
        for pair, index in zip(pairs, crossed, strict=True):
            assert seen.setdefault(pair, index) == index
    assert len(set(seen.values())) == len(seen)
    assert min(seen.values()) >= 2


@settings(max_examples=25)
@given(ROWS, st.integers(1, 12))
def test_the_plan_and_the_encoding_do_not_depend_on_blocks(tmp_path_factory, rows, size: int) -> None:
    frame = typed(rows)
    blocks = list(frame.iter_slices(size))
    whole = fitted(frame, tmp_path_factory.mktemp("spill"), CROSSES)
    parts = fitted(frame, tmp_path_factory.mktemp("spill"), CROSSES, blocks)
    assert whole.digest == parts.digest
    assert whole.encode(frame).equals(pl.concat([whole.encode(block) for block in blocks]))
    by_value = whole.encode(coded(frame))
    assert by_value.equals(whole.encode(frame).select(by_value.columns))
    assert fitted(frame, tmp_path_factory.mktemp("spill"), CROSSES, [coded(frame)]).digest == whole.digest


def test_fields_of_one_vocabulary_have_equal_indices(tmp_path: Path) -> None:
    rows = [{"city": "x", "last": tag, "tags@values": [tag], "words@values": ["p"]} for tag in "aabbbc"]
    plan = fitted(typed(rows), tmp_path)
    encoded = plan.encode(typed(rows))
    assert encoded["last"].to_list() == encoded["tags"].explode().to_list() == [3, 3, 2, 2, 2, 4]
    assert [column.shared for column in plan.index_columns] == [None, "tag", "tag", None]


def test_a_saved_plan_encodes_lists_alike(tmp_path: Path) -> None:
    rows = [{"city": "x", "last": "a", "tags@values": ["a", "b"], "words@values": None}] * 3
    plan = fitted(typed(rows), tmp_path, CROSSES)
    plan.save(tmp_path / "plan")
    assert FeaturePlan.load(tmp_path / "plan").encode(typed(rows)).equals(plan.encode(typed(rows)))


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("shard_rows", [7, 1000])
def test_batches_keep_every_list_with_its_row(tmp_path: Path, seed: int | None, shard_rows: int) -> None:
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 5, 50)
    lists = [[row * 10 + i for i in range(length)] for row, length in enumerate(lengths)]
    frame = pl.DataFrame(
        {
            "id": pl.Series(range(50), dtype=pl.Int32),
            "l": pl.Series(lists, dtype=pl.List(pl.Int32)),
            "l\x01weights": pl.Series([[v / 2 for v in one] for one in lists], dtype=pl.List(pl.Float32)),
            LABEL_COLUMN: pl.Series([0.0] * 50, dtype=pl.Float32),
        }
    )
    write_stores([(tmp_path / "store", [frame])], shard_rows=shard_rows)
    store = EncodedStore.open(tmp_path / "store")

    def stream(start: int = 0) -> BatchStream:
        return BatchStream(
            store,
            ["id"],
            [],
            8,
            list_columns=[("l", "l\x01weights")],
            seed=seed,
            start_batch=start,
            chunk_rows=6,
            window_chunks=3,
        )

    found = []
    for batch in stream():
        (part,) = batch.lists
        assert part.weights is not None
        ends = np.cumsum(part.lengths)
        for row, start, end in zip(batch.indices[0], ends - part.lengths, ends, strict=True):
            assert part.values[start:end].tolist() == lists[row]
            assert part.weights[start:end].tolist() == [v / 2 for v in lists[row]]
            found.append(int(row))
    assert sorted(found) == list(range(50))
    again = [batch.lists[0].values.tolist() for batch in stream(3)]
    assert again == [batch.lists[0].values.tolist() for batch in stream()][3:]
