"""What crosses remember, fitted by workers: the bytes of one process, whatever their number, and whoever dies."""

from pathlib import Path

import numpy as np
import pytest
from stages_of_workers import DyingPool, Shuffled, files_of, write_project

from widedeep.lists import Lists
from widedeep.memory.additive import Target
from widedeep.memory.columns import CodeColumn, ListColumn, narrow_lists
from widedeep.memory.remember import remember
from widedeep.pipeline.collisions import build_crosses_and_report
from widedeep.pipeline.stages import encoding_stage, memory_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.reporting import Reporter
from widedeep.workers import Workers
from widedeep.workers.shelf import Shelf

ROWS = 600


class Warned(Reporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def memory_of(loaded: LoadedRecipe, work: Path, workers: Workers | None = None) -> dict[str, bytes]:
    """The files of the stage, which is made unless it is done already."""
    workspace = Workspace(work)
    with workspace.shared(Reporter(), wait=False):
        encoded = encoding_stage(loaded, workspace, Reporter())
        assert memory_stage(loaded, encoded, workspace, Reporter(), workers=workers) is not None
    return files_of(workspace.stages_dir / "memory")


def test_crosses_by_workers_leaves_what_training_would_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    alone = memory_of(loaded, tmp_path / "alone")

    build_crosses_and_report(loaded, tmp_path / "shared", Reporter(), workers="3")

    assert files_of(tmp_path / "shared" / "stages" / "memory") == alone
    assert {Path(name).name for name in alone} == {"DONE", *(f"{n}.safetensors" for n in ("memory", "folds", "sums"))}


def test_workers_that_die_of_folds_leave_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, pool = load_recipe(write_project(tmp_path, monkeypatch)), DyingPool(2)
    try:
        shared = memory_of(loaded, tmp_path / "shared", pool)
    finally:
        pool.close()

    assert pool.deaths == 4  # of ten folds
    assert shared == memory_of(loaded, tmp_path / "alone")


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_folds_in_any_order_and_fitted_twice_count_on_the_same_sums(kind: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    label = draw.integers(0, 2, ROWS).astype(np.float32)
    target = Target("binary" if kind == "binary" else "regression", label, draw.random(ROWS).astype(np.float32))
    lengths = draw.integers(1, 4, ROWS)
    weights = draw.random(int(lengths.sum())).astype(np.float32)
    lists = narrow_lists(Lists(draw.integers(0, 7, len(weights)).astype(np.int32), lengths, weights), 7)
    main = [CodeColumn([draw.integers(0, 5, ROWS).astype(np.uint8)], 5)]
    crosses = [CodeColumn([draw.integers(0, 9, ROWS).astype(np.uint8)], 9, 2), ListColumn([lists], 7, 2)]
    folds = draw.integers(0, 4, ROWS).astype(np.uint8)

    def fitted(stored: object = None, shelf: Shelf | None = None) -> tuple[object, ...]:
        return remember(main, crosses, [1, 2], target, folds, Reporter(), stored, (), shelf)  # type: ignore[arg-type]

    *_, sums = fitted()
    for stored in (None, sums):
        alone, shared = fitted(stored), fitted(stored, Shelf(Shuffled(), tmp_path))
        for number, (one, other) in enumerate(zip(alone, shared, strict=True)):
            for result, name in ((one, "one"), (other, "other")):
                result.save(tmp_path / f"{number}-{name}.safetensors")  # type: ignore[attr-defined]
            names = (tmp_path / f"{number}-{name}.safetensors" for name in ("one", "other"))
            first, second = (path.read_bytes() for path in names)
            assert first == second


def test_crosses_too_large_to_remember_are_reported_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    monkeypatch.setattr("widedeep.pipeline.stages.MOST_MEMORY", 100)
    reporter = Warned()

    result, _ = build_crosses_and_report(loaded, tmp_path, reporter, workers="1")

    assert len(result.crosses) == 3
    (warning,) = reporter.warnings
    assert "`train` would refuse them" in warning
    assert not (tmp_path / "stages" / "memory").exists() or files_of(tmp_path / "stages" / "memory") == {}
