"""`crosses` by workers leaves the bytes of one process, whatever their number, and whoever dies."""

from pathlib import Path

import pytest
from stages_of_workers import DyingPool, files_of, write_project

from widedeep.pipeline.collisions import build_crosses_and_report
from widedeep.pipeline.stages import build_crosses, encoding_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter


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


def store_defaults() -> dict[str, int]:
    from widedeep.encoded.store import write_stores

    assert write_stores.__kwdefaults__ is not None
    return write_stores.__kwdefaults__
