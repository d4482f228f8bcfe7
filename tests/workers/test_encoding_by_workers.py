"""`crosses` by workers leaves the bytes of one process, whatever their number, and whoever dies."""

import random
from pathlib import Path

import polars as pl
import pytest
from stages_of_workers import DyingPool, Meddling, Shuffled, files_of, write_project

from widedeep.errors import ArtefactError
from widedeep.features.vocabulary import ValueCounts
from widedeep.pipeline.collisions import build_crosses_and_report
from widedeep.pipeline.ingest_stage import ingest
from widedeep.pipeline.stages import build_crosses, encoding_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.workers.pool import open_pool


@pytest.mark.parametrize("size", ["1", "2", "3"])
def test_any_number_of_workers_leaves_the_bytes_of_one_process(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    monkeypatch.setitem(store_defaults(), "shard_rows", 256)
    monkeypatch.setattr("widedeep.pipeline.encoding_parts.SHARD_ROWS", 256)

    alone = build_crosses(loaded, tmp_path / "alone", Reporter())
    shared, _ = build_crosses_and_report(loaded, tmp_path / "shared", Reporter(), workers=size)

    assert shared.key == alone.key
    assert files_of(shared.path) == files_of(alone.path)
    assert len(list((shared.path / "train").glob("shard-*"))) > 2


def test_workers_that_die_of_every_third_part_leave_the_same_bytes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    alone = build_crosses(loaded, tmp_path / "alone", Reporter())

    workspace, pool = Workspace(tmp_path / "shared"), DyingPool(2)
    try:
        shared = encoding_stage(loaded, workspace, Reporter(), workers=pool)
    finally:
        pool.close()

    assert pool.deaths > 5
    assert files_of(shared.path) == files_of(alone.path)
    assert list((tmp_path / "shared").rglob(".*")) == []


def test_vocabularies_too_large_for_memory_are_settled_from_files_that_any_worker_could_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    alone = build_crosses(loaded, tmp_path / "alone", Reporter())
    spilled: list[int] = []
    spill = ValueCounts._spill

    def noted(counts: ValueCounts, frame: pl.DataFrame) -> None:
        spilled.append(len(frame))
        spill(counts, frame)

    # The shares of memory are set by this process: those of the settling are part of the work that is sent.
    monkeypatch.setattr("widedeep.features.fit_parts.SPILL_ENTRIES", 40)
    monkeypatch.setattr(ValueCounts, "_spill", noted)

    here = encoding_stage(loaded, Workspace(tmp_path / "here"), Reporter(), workers=Shuffled())
    with open_pool(2) as pool:
        # Another process: what is spilled is parted by a hash of Polars that need not be the same there.
        shared = encoding_stage(loaded, Workspace(tmp_path / "shared"), Reporter(), workers=pool)

    assert len(spilled) > 10
    assert files_of(here.path) == files_of(shared.path) == files_of(alone.path)


GAPS = """\
name: parts
data:
  train: log-*.csv
  label: click
  format: {missing: [""]}
features:
  numeric: [{column: x, buckets: 5}]
  categorical: [{column: early, min_count: 2}, {column: late, buckets: auto}, {column: d, vocabulary: v}]
  multi_valued: [{column: l, separator: " ", vocabulary: v}]
crosses: [[early, late], {fields: [d, l], buckets: auto}, [x, d]]
"""


@pytest.mark.parametrize("held", [16_000_000, 8])
def test_values_that_only_some_parts_hold_are_counted_as_by_one_process(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 100)
    monkeypatch.setattr("widedeep.features.fit_parts.SPILL_ENTRIES", held)
    draw = random.Random(3)
    for number, rows in enumerate([60, 1, 40, 2, 30]):
        lines = ["x,early,late,d,l,click"]
        for _ in range(rows):
            early, late = ("", f"b{draw.randrange(4)}") if number > 2 else (f"a{draw.randrange(4)}", "")
            items = " ".join(f"d{draw.randrange(12)}" for _ in range(draw.randrange(4)))
            lines.append(f"{draw.random()},{early},{late},d{draw.randrange(9)},{items},{draw.randrange(2)}")
        (tmp_path / f"log-{number}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "parts.yaml").write_text(GAPS)
    loaded = load_recipe(tmp_path / "parts.yaml")

    alone = build_crosses(loaded, tmp_path / "alone", Reporter())
    shared = encoding_stage(loaded, Workspace(tmp_path / "shared"), Reporter(), workers=Shuffled())

    assert files_of(shared.path) == files_of(alone.path)


@pytest.mark.parametrize("function", ["_fit_fields", "_fit_crosses", "_write_all"])
def test_a_part_of_the_typed_table_that_vanishes_is_told_by_name_and_leaves_nothing(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    typed = ingest(loaded, tmp_path / "work", Reporter()).path
    workers = Meddling(function, (typed / "train" / "part-00002.arrow").unlink)

    with pytest.raises(ArtefactError, match=r"part-00002\.arrow: .*[Nn]o such file") as raised:
        encoding_stage(loaded, Workspace(tmp_path / "work"), Reporter(), workers=workers)

    assert raised.value.exit_code == 4
    assert list((tmp_path / "work" / "stages" / "encoded").iterdir()) == []


def store_defaults() -> dict[str, int]:
    from widedeep.encoded.store import write_stores

    assert write_stores.__kwdefaults__ is not None
    return write_stores.__kwdefaults__
