"""What training shows as unknown depends on seed, epoch, field and row alone, and takes the row's combinations along."""

import hashlib
from itertools import product

import numpy as np
import polars as pl
import pytest

from widedeep.encoded.batches import Batch, BatchStream
from widedeep.encoded.store import EncodedStore, write_stores
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.features.fields import FIRST, UNKNOWN
from widedeep.features.fit import fit_plan
from widedeep.features.plan import FeaturePlan, IndexColumn
from widedeep.features.targets import LABEL_COLUMN
from widedeep.model.layout import InputLayout
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

ROWS = 400
FEATURES = {
    "numeric": [{"column": "row", "transform": "none"}],
    "categorical": ["city", {"column": "user", "min_count": 3}],
    "multi_valued": [{"column": "words", "separator": " "}, {"column": "tags", "separator": " "}],
}
CROSSES = [
    ["city", "user"],
    ["tags", "city"],
    ["tags", "words", "user"],
    {"fields": ["user", "city", "tags"], "buckets": 9},
]
SHARES = {"city": 0.3, "user": 0.5, "tags": 0.4}


def typed() -> pl.DataFrame:
    draw = np.random.default_rng(0)

    def lists(values: str) -> list[list[str] | None]:
        return [
            None if draw.random() < 0.1 else draw.choice(list(values), draw.integers(1, 4)).tolist()
            for _ in range(ROWS)
        ]

    return pl.DataFrame(
        {
            "row": np.arange(ROWS, dtype=np.float64),
            "city": [None if draw.random() < 0.1 else str(draw.integers(4)) for _ in range(ROWS)],
            "user": (draw.zipf(1.4, ROWS) % 50).astype(str),
            "tags@values": lists("abcd"),
            "words@values": lists("pq"),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeaturePlan, pl.DataFrame, EncodedStore]:
    folder = tmp_path_factory.mktemp("stored")
    frame = typed()
    plan = fit_plan(
        FeatureSettings.model_validate(FEATURES),
        [CrossSettings.model_validate(c if isinstance(c, dict) else {"fields": c, "min_count": 1}) for c in CROSSES],
        lambda: iter([frame]),
        spill_dir=folder,
        reporter=Reporter(),
        total_rows=None,
    )
    label = pl.Series(LABEL_COLUMN, np.zeros(ROWS), dtype=pl.Float32)
    write_stores([(folder / "store", [plan.encode(frame).with_columns(label)])], shard_rows=150)
    return plan, frame, EncodedStore.open(folder / "store")


def layout_of(plan: FeaturePlan) -> InputLayout:
    return InputLayout.of(plan.index_columns, plan.numeric_columns)


def stream(
    plan: FeaturePlan,
    store: EncodedStore,
    size: int = 64,
    *,
    seed: int | None = 7,
    epoch: int = 0,
    start_batch: int = 0,
    window_chunks: int = 3,
) -> BatchStream:
    layout = layout_of(plan)
    return BatchStream(
        store,
        [column.name for column in layout.index_columns],
        layout.numeric_columns,
        size,
        list_columns=layout.list_names,
        seed=seed,
        epoch=epoch,
        start_batch=start_batch,
        unknown=UnknownDraws.of_plan(plan, SHARES, 5, layout.index_columns, layout.list_columns),
        chunk_rows=16,
        window_chunks=window_chunks,
    )


def by_row(plan: FeaturePlan, batches: list[Batch]) -> dict[int, dict[str, list[int]]]:
    """Row number → column → its indices."""
    layout = layout_of(plan)
    found: dict[int, dict[str, list[int]]] = {}
    for batch in batches:
        for place, number in enumerate(batch.numerics[0].astype(int)):
            row = {c.name: [int(batch.indices[i, place])] for i, c in enumerate(layout.index_columns)}
            for column, part in zip(layout.list_columns, batch.lists, strict=True):
                row[column.name] = part.slice(place, place + 1).values.tolist()
            found[int(number)] = row
    return found


def mixed(start: int, position: int) -> int:
    mask = 2**64 - 1
    state = (start + (position + 1) * 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def is_drawn(field: str, epoch: int, row: int, place: int | None = None) -> bool:
    start = int.from_bytes(hashlib.blake2b(f"5 {epoch} {field}".encode(), digest_size=8).digest(), "little")
    bits = mixed(start, row) if place is None else mixed(mixed(start, row), place)
    return field in SHARES and bits < SHARES[field] * 2**64


def test_every_row_shows_what_a_literal_reading_of_the_draws_shows(
    stored: tuple[FeaturePlan, pl.DataFrame, EncodedStore],
) -> None:
    plan, frame, store = stored
    encoded = plan.encode(frame)
    found = by_row(plan, list(stream(plan, store, epoch=2)))
    members = {cross.name: cross.fields for cross in plan.crosses}
    combinations = 0
    for number, typed_row in enumerate(frame.iter_rows(named=True)):
        own = encoded[number].to_dicts()[0]
        values, hidden = {}, {}
        for field in ("city", "user", "words", "tags"):
            listed = f"{field}@values" in typed_row
            indices = own[field] if listed else [own[field]]
            values[field] = (typed_row[f"{field}@values"] or [None]) if listed else [typed_row[field]]
            hidden[field] = [
                index >= FIRST and is_drawn(field, 2, number, place if listed else None)
                for place, index in enumerate(indices)
            ]
            wanted = [UNKNOWN if hide else index for index, hide in zip(indices, hidden[field], strict=True)]
            assert found[number][field] == wanted
        for name, fields in members.items():
            order = [field for field in ("city", "user", "words", "tags") if field in fields]
            places = list(product(*(range(len(values[field])) for field in order)))
            for place, (chosen, index) in enumerate(zip(places, found[number][name], strict=True)):
                hide = any(hidden[field][k] for field, k in zip(order, chosen, strict=True))
                single = {
                    f"{field}@values" if field in ("words", "tags") else field: [
                        [values[field][k]] if field in ("words", "tags") else values[field][k]
                    ]
                    for field, k in zip(order, chosen, strict=True)
                }
                if plan.crosses[3].name == name or not hide:
                    # What the combination is encoded as, by itself.
                    alone = plan.encode(frame[[number]].with_columns(_typed_like(frame, single)), [name])[name]
                    plain = alone[0].to_list() if isinstance(alone[0], pl.Series) else [alone[0]]
                    assert found[number][name][place] == plain[0]
                else:
                    assert index == UNKNOWN
                combinations += 1
    assert combinations > 2 * ROWS


def _typed_like(frame: pl.DataFrame, values: dict[str, list[object]]) -> list[pl.Series]:
    return [pl.Series(name, value, dtype=frame.schema[name]) for name, value in values.items()]


def test_draws_do_not_depend_on_batches_windows_or_where_a_stream_begins(
    stored: tuple[FeaturePlan, pl.DataFrame, EncodedStore],
) -> None:
    plan, _, store = stored
    whole = by_row(plan, list(stream(plan, store)))
    assert len(whole) == ROWS
    assert by_row(plan, list(stream(plan, store, 23, window_chunks=100))) == whole
    assert by_row(plan, list(stream(plan, store, 23, seed=None))) == whole
    rest = by_row(plan, list(stream(plan, store, start_batch=3)))
    assert len(rest) == ROWS - 3 * 64
    assert rest == {number: whole[number] for number in rest}


def test_every_epoch_draws_anew_at_the_same_rate(stored: tuple[FeaturePlan, pl.DataFrame, EncodedStore]) -> None:
    plan, frame, store = stored
    known = (plan.encode(frame)["user"] >= FIRST).to_numpy()
    shown = []
    for epoch in range(40):
        rows = by_row(plan, list(stream(plan, store, epoch=epoch)))
        shown.append([rows[number]["user"][0] == UNKNOWN for number in np.flatnonzero(known)])
    assert np.mean(shown) == pytest.approx(SHARES["user"], abs=0.02)
    # No row is shown, or hidden, every time.
    assert np.min(np.mean(shown, axis=0)) > 0
    assert np.max(np.mean(shown, axis=0)) < 1


def test_fields_are_drawn_apart_from_each_other() -> None:
    rows = np.arange(200_000)
    draws = _of_two_fields().draw(0, rows, [])
    first, second = draws.rows
    assert np.mean(first & second) == pytest.approx(0.5 * 0.3, abs=0.005)
    other = _of_two_fields(seed=1).draw(0, rows, []).rows[0]
    assert np.mean(first & other) == pytest.approx(0.5 * 0.5, abs=0.005)


def _of_two_fields(seed: int = 0) -> UnknownDraws:
    columns = [IndexColumn(name, "categorical", 10, (name,), None) for name in ("a", "b")]
    return UnknownDraws({"a": 0.5, "b": 0.3}, seed, columns, [], frozenset())
