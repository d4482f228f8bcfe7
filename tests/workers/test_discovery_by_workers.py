"""`crosses --discover` by workers finds what one process finds, to the last digit, whatever their number, and whoever
dies."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from discovery_of_workers import write_clicks
from stages_of_workers import DyingPool, Shuffled

from widedeep.discovery.discover import Discovery, discover
from widedeep.pipeline.discovery import discover_crosses
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.workers import Workers
from widedeep.workers.shelf import Shelf


@pytest.fixture(autouse=True)
def few_candidates_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widedeep.discovery.screen._CANDIDATES_TOGETHER", 3)


def bytes_of(discovery: Discovery) -> bytes:
    """Everything that was found, to the last bit, but for the seconds that it took."""
    return pickle.dumps(replace(discovery, seconds=0.0))


def found_by(workers: Workers | None, recipe: Path, budget: float | None = None, **rest: Any) -> Discovery:
    loaded, shelf_dir = load_recipe(recipe), recipe.parent / "shelf"
    typed = ingest(loaded, recipe.parent, Reporter()).path
    if workers is None:
        return discover(loaded.recipe, typed, budget=budget, fdr=0.05, reporter=Reporter(), **rest)
    shelf_dir.mkdir()
    shelf = Shelf(workers, shelf_dir)
    return discover(loaded.recipe, typed, budget=budget, fdr=0.05, reporter=Reporter(), shelf=shelf, **rest)


def test_any_number_of_workers_finds_the_same_and_leaves_no_files(tmp_path: Path) -> None:
    loaded = load_recipe(write_clicks(tmp_path))

    alone = discover_crosses(loaded, tmp_path / "alone", Reporter())

    assert [cross.score.candidate.fields for cross in alone.kept] == [("a", "b"), ("shape", "n")]
    for size in "13":  # of two, some die below
        shared = discover_crosses(loaded, tmp_path / "shared", Reporter(), workers=size)
        assert bytes_of(shared) == bytes_of(alone)
    assert [path.name for path in (tmp_path / "shared" / "stages").iterdir()] == ["ingest"]


def test_workers_that_die_in_each_step_change_nothing(tmp_path: Path) -> None:
    recipe, pool = write_clicks(tmp_path), DyingPool(2, most=2)
    try:
        shared = found_by(pool, recipe)
    finally:
        pool.close()

    assert pool.deaths == 6  # two each of scores, folds and the null
    assert bytes_of(shared) == bytes_of(found_by(None, recipe))


@pytest.mark.parametrize("kind", ["regression", "weights", "known", "on a run", "fewer rows first"])
def test_parts_in_any_order_and_done_twice_give_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "fewer rows first":
        monkeypatch.setattr("widedeep.discovery.search.LEAST_ROWS", 500)
        monkeypatch.setattr("widedeep.discovery.search.ROW_LIMIT", 10_000)
    recipe = write_clicks(tmp_path, kind)

    on = {"logits": lambda data: np.sin(np.arange(data.num_rows)).astype(np.float32)} if kind == "on a run" else {}

    shared, alone = found_by(Shuffled(), recipe, **on), found_by(None, recipe, **on)

    assert alone.kept
    assert alone.triples
    assert bytes_of(shared) == bytes_of(alone)


def test_a_spent_budget_ends_the_work_of_workers_where_it_ends_that_of_threads(tmp_path: Path) -> None:
    recipe = write_clicks(tmp_path)

    shared, alone = found_by(Shuffled(), recipe, budget=1e-9), found_by(None, recipe, budget=1e-9)

    assert shared.stopped_in == alone.stopped_in == "the screening of pairs"
    assert bytes_of(shared) == bytes_of(alone)


def test_what_is_needed_for_a_while_is_gone_afterwards(tmp_path: Path) -> None:
    recipe = write_clicks(tmp_path)

    found_by(Shuffled(), recipe)

    numbers = sorted(int(path.name) for path in (tmp_path / "shelf").iterdir())
    assert len(numbers) < max(numbers)


def test_the_command_prints_the_same_with_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Callable[..., tuple[int, str, str]]
) -> None:
    write_clicks(tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = []
    for options in ([], ["--workers", "1"]):
        code, out, err = widedeep("crosses", "clicks.yaml", "--discover", "--json", *options)
        assert code == 0, err
        printed.append({**json.loads(out), "seconds": None})

    assert printed[0] == printed[1]
    assert printed[0]["crosses"]
