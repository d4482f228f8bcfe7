"""What turning a CSV into indices takes: ratios to Polars within one run, and cross cells per second."""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from widedeep.features.fit import fit_plan
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.ingest_stage import ingest
from widedeep.pipeline.stages import build_crosses
from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.recipe.schema import CategoricalField, CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

RECIPE = Path(__file__).parent / "planted.yaml"
_CELL_ROWS = 1 << 16
"""Rows whose crosses a thread builds at once."""


def ingest_against_polars(csv: Path, work: Path, runs: int = 3) -> list[float]:
    """Time of `ingest` (typed, checked, split with 10% random valid rows, profiled) over that of Polars' CSV to Parquet."""
    return _ratios(csv, work, runs, ingest, [])


def encode_against_polars(csv: Path, work: Path, runs: int = 3, overrides: Sequence[str] = ()) -> list[float]:
    """The same of CSV to encoded store, with the vocabularies and the 8 crosses of the planted recipe."""
    return _ratios(csv, work, runs, build_crosses, overrides)


def encode_seconds(csv: Path, work: Path, overrides: Sequence[str] = ()) -> float:
    """Seconds from CSV to encoded store, once."""
    loaded = planted_recipe(csv, overrides)
    shutil.rmtree(work / "ours", ignore_errors=True)
    return _seconds(lambda: build_crosses(loaded, work / "ours", Reporter()))


def cross_cells_per_second(csv: Path, work: Path, runs: int = 3, *, hashed: bool = True) -> list[float]:
    """Cells (rows x crosses) per second: the 26 text columns in memory to the 8 crosses' Int32 indices.

    hashed: whether the crosses have 2^20 buckets each, or vocabularies (fitted beforehand) as in the planted recipe.
    """
    crosses = [
        CrossSettings(fields=cross.fields, buckets=1 << 20) if hashed else cross
        for cross in planted_recipe(csv, []).recipe.crosses
    ]
    columns = [f"C{number}" for number in range(1, 27)]
    frame = pl.scan_csv(csv, schema_overrides=dict.fromkeys(columns, pl.String)).select(columns).collect().rechunk()
    features = FeatureSettings(categorical=tuple(CategoricalField(column=column, buckets=1000) for column in columns))
    work.mkdir(parents=True, exist_ok=True)
    plan = fit_plan(
        features, crosses, lambda: iter([frame]), spill_dir=work, reporter=Reporter(), total_rows=frame.height
    )
    figures = []
    for _ in range(runs):
        seconds = _seconds(lambda: _build(plan, frame))
        figures.append(frame.height * len(plan.crosses) / seconds)
    return figures


def _build(plan: FeaturePlan, frame: pl.DataFrame) -> list[pl.DataFrame]:
    hashes, indices = plan.member_hashes(plan.crosses), [cross.index() for cross in plan.crosses]
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        return list(threads.map(lambda rows: rows.with_columns(hashes).select(indices), frame.iter_slices(_CELL_ROWS)))


def _ratios(
    csv: Path,
    work: Path,
    runs: int,
    stage: Callable[[LoadedRecipe, Path, Reporter], object],
    overrides: Sequence[str],
) -> list[float]:
    loaded = planted_recipe(csv, overrides)
    work.mkdir(parents=True, exist_ok=True)
    ratios = []
    for _ in range(runs):
        theirs = _seconds(lambda: pl.scan_csv(csv).sink_parquet(work / "polars.parquet"))
        shutil.rmtree(work / "ours", ignore_errors=True)
        ratios.append(_seconds(lambda: stage(loaded, work / "ours", Reporter())) / theirs)
    return ratios


def planted_recipe(csv: Path, overrides: Sequence[str]) -> LoadedRecipe:
    return load_recipe(RECIPE, [f"data.train={csv}", "data.test=null", *overrides])


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
