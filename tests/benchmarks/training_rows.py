"""Rows of training: the real loop on an encoded store that is drawn, against the neural network alone on ready inputs."""

import gc
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from click_log import ClickLog, write_recipe

from widedeep.encoded.folds import row_folds
from widedeep.encoded.store import EncodedStore, write_store
from widedeep.features.plan import IndexColumn
from widedeep.features.targets import LABEL_COLUMN
from widedeep.memory.cross_memory import CrossMemory, FoldMemory
from widedeep.memory.from_store import cross_column, main_columns, numeric_cuts, target
from widedeep.memory.remember import remember
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.model.towers.mlp import build_mlp
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Meter, Reporter
from widedeep.runs import RunDirectory
from widedeep.synth.criteo import CARDINALITIES, NUMERIC
from widedeep.training import loop
from widedeep.training.device import peak_memory_bytes, set_threads
from widedeep.training.loop import Trainer

ZIPF_EXPONENT = 1.1
CROSS_SIZES = (1_500, 3_000, 6_000, 12_000, 24_000, 40_000, 60_000, 90_000)
"""Combinations of the eight crosses, most rows in those with many rows."""
WARM_UP = 0.2
"""Share of a run's rows that are trained on before its clock starts."""
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Size:
    """How large the measurement is."""

    steps: int = 100
    batch_size: int = 4096
    hidden: tuple[int, ...] = (400, 400, 400)
    runs: int = 3

    @property
    def rows(self) -> int:
        """Rows of the store, each trained on once."""
        return self.steps * self.batch_size


class StepClock(Reporter):
    """Hears of every finished piece of training and keeps the time: what lies between two is whole steps, feed included."""

    def __init__(self) -> None:
        self.started = 0.0
        self.ticks: list[tuple[float, float]] = []
        """(time in seconds, rows done)."""

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[Meter]:
        self.started = time.perf_counter()
        clock = self

        class Ticking(Meter):
            def update(self, done: float, **figures: float) -> None:
                clock.ticks.append((time.perf_counter(), done))

        yield Ticking()

    def rows_per_second(self, skip: float = 0.0) -> float:
        """Between the first tick at which `skip` rows were done (0: the start) and the last one."""
        start, before = next(tick for tick in self.ticks if tick[1] >= skip) if skip else (self.started, 0.0)
        end, done = self.ticks[-1]
        return (done - before) / (end - start)


# ------------------------------------------------------------------------------------------------------ what is drawn


def draw_store(directory: Path, table_rows: int, rows: int) -> tuple[EncodedStore, InputLayout]:
    """A store of Criteo's shape whose 26 columns have `table_rows` values in all, Zipf-distributed, and eight crosses."""
    share = table_rows / sum(CARDINALITIES.values())
    columns = [
        IndexColumn(name, "categorical", size, (name,), 16)
        for name, size in ((name, max(4, round(size * share))) for name, size in CARDINALITIES.items())
    ]
    columns += [
        IndexColumn(f"X{number}", "cross", size, (f"X{number}",), None) for number, size in enumerate(CROSS_SIZES)
    ]
    draw = np.random.default_rng(0)
    write_store(
        directory, (_block(draw, columns, min(_BLOCK_ROWS, rows - start)) for start in range(0, rows, _BLOCK_ROWS))
    )
    return EncodedStore.open(directory), InputLayout.of(columns, NUMERIC)


def _block(draw: np.random.Generator, columns: Sequence[IndexColumn], rows: int) -> pl.DataFrame:
    block = {column.name: _zipf(draw.random(rows), column.size) for column in columns}
    numbers = {name: draw.random(rows, dtype=np.float32) for name in NUMERIC}
    return pl.DataFrame({**block, **numbers, LABEL_COLUMN: (draw.random(rows) < 0.3).astype(np.float32)})


def _zipf(uniform: np.ndarray, size: int) -> np.ndarray:
    # The inverse of the continuous power law on [1, size + 1), rounded down: 0 is the most frequent index.
    power = 1.0 - ZIPF_EXPONENT
    ranks = (1.0 + uniform * ((size + 1.0) ** power - 1.0)) ** (1.0 / power) - 1.0
    whole: np.ndarray = np.minimum(ranks, size - 1).astype(np.int32)
    return whole


def recipe_of(work: Path, kind: str, crosses: str, size: Size) -> Recipe:
    """The resolved recipe that the loop is driven with; the files it names are not read."""
    path = write_recipe(
        work / f"{kind}.yaml",
        ClickLog(work / "none.csv", work / "none.csv", ()),
        model={
            "kind": kind,
            "wide": {"crosses": crosses},
            "embeddings": {"dim": 16},
            "deep": {"hidden": list(size.hidden)},
        },
        training={"epochs": 1, "batch_size": size.batch_size, "checkpoint_seconds": 86_400},
    )
    return load_recipe(path).recipe


# ------------------------------------------------------------------------------------------------------ what is timed


def train_once(
    recipe: Recipe, network: Network, layout: InputLayout, store: EncodedStore, work: Path
) -> tuple[Trainer, StepClock]:
    """The real loop over the store, with its checkpoint at the end, and the clock that watched every step of it."""
    run, clock = RunDirectory(work / "run"), StepClock()
    shutil.rmtree(run.path, ignore_errors=True)
    run.best_path.parent.mkdir(parents=True)
    trainer = Trainer(recipe, network, layout, store, None, run, torch.device("cpu"), clock)
    with mock.patch.object(loop, "METER_SECONDS", 0.0):
        trainer.run(resume=False)
    return trainer, clock


class Contender:
    """One kind of model on one store, trained anew at every run."""

    def __init__(
        self, work: Path, store: EncodedStore, layout: InputLayout, size: Size, kind: str, crosses: str = "gradient"
    ) -> None:
        self.work, self.store, self.size = work, store, size
        self.recipe = recipe_of(work, kind, crosses, size)
        kept = [column for column in layout.index_columns if kind != "deep" or column.kind == "categorical"]
        self.layout = InputLayout.of(kept, layout.numeric_columns)
        self._memory = self._remember() if crosses == "out_of_fold" else None

    def _remember(self) -> tuple[CrossMemory, FoldMemory]:
        store, layout = self.store, self.layout
        crosses, numerics = [cross_column(store, column) for column in layout.crosses], layout.numeric_columns
        return remember(
            main_columns(store, layout.index_columns, numerics, numeric_cuts(store, numerics)),
            crosses,
            [2] * len(crosses),
            target(store, "binary"),
            row_folds(0, store.rows, self.recipe.model.wide.folds),
            Reporter(),
        )[:2]

    def trained(self) -> tuple[Trainer, StepClock]:
        """A trainer that has done its one epoch, checkpoint and all, and the clock that watched it."""
        torch.manual_seed(0)
        network = Network(self.layout, self.recipe.model)
        if self._memory is not None:
            known, folds = self._memory
            crosses = network.cross_memory
            assert crosses is not None
            crosses.remember(torch.from_numpy(known.value), torch.from_numpy(known.support))
            crosses.start_from(torch.from_numpy(known.scale), torch.from_numpy(known.offset))
            crosses.train_on_folds(torch.from_numpy(folds.value), torch.from_numpy(folds.support))
        return train_once(self.recipe, network, self.layout, self.store, self.work)

    def rows_per_second(self) -> float:
        """Of whole steps, after a warm-up; the checkpoint at the end is left out."""
        rate = self.trained()[1].rows_per_second(WARM_UP * self.store.rows)
        gc.collect()
        return rate


def mlp_alone(input_dim: int, recipe: Recipe, steps: int) -> float:
    """Rows per second of forward, backward with the gradient to the inputs, and an Adam step, on ready inputs."""
    batch_size = recipe.training.batch_size
    tower = build_mlp(input_dim, recipe.model.deep)
    optimizer = torch.optim.Adam(tower.parameters(), fused=True)
    inputs = torch.randn(batch_size, input_dim, requires_grad=True)
    label = torch.randint(0, 2, (batch_size,)).float()
    started = 0.0
    warm_up = int(WARM_UP * steps)
    for step in range(steps):
        if step == warm_up:
            started = time.perf_counter()
        inputs.grad = None
        F.binary_cross_entropy_with_logits(tower(inputs), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return (steps - warm_up) * batch_size / (time.perf_counter() - started)


# ----------------------------------------------------------------------------------------------------------- the rows


@dataclass(frozen=True)
class Against:
    """Ratios to the MLP alone, one per repetition, and the recipe that was trained."""

    deep: list[float]
    wide_deep: list[float]
    """With eight crosses, as by default: their values from counts, out of fold."""
    by_gradient: list[float]
    """With eight crosses whose weights are learnt along."""
    alone: list[float]
    """Rows per second of the MLP alone."""
    recipe: str


def against_the_mlp_alone(work: Path, size: Size = Size(), table_rows: int = 200_000) -> Against:
    """Each contender in turn, the MLP alone before each round."""
    set_threads(None)
    store, layout = draw_store(work / "store", table_rows, size.rows)
    deep = Contender(work, store, layout, size, "deep")
    wide_deep = Contender(work, store, layout, size, "wide_deep", "out_of_fold")
    by_gradient = Contender(work, store, layout, size, "wide_deep", "gradient")
    input_dim = 16 * len(CARDINALITIES) + len(NUMERIC)
    figures: tuple[list[float], list[float], list[float], list[float]] = ([], [], [], [])
    for _ in range(size.runs):
        alone = mlp_alone(input_dim, deep.recipe, size.steps)
        ratios = [one.rows_per_second() / alone for one in (deep, wide_deep, by_gradient)]
        for figure, value in zip(figures, [*ratios, alone], strict=True):
            figure.append(value)
    return Against(*figures, dump_recipe(wide_deep.recipe))


def large_tables_against_small(
    work: Path, size: Size = Size(), small_rows: int = 200_000, large_rows: int = 20_000_000
) -> list[float]:
    """`deep` with tables of `large_rows` rows in all against `deep` with `small_rows`, as ratios of their rates."""
    set_threads(None)
    small, large = (
        Contender(work, *draw_store(work / f"store-{rows}", rows, size.rows), size, "deep")
        for rows in (small_rows, large_rows)
    )
    ratios = []
    for _ in range(size.runs):
        base = small.rows_per_second()
        ratios.append(large.rows_per_second() / base)
    return ratios


def memory_of_large_tables(work: Path, size: Size = Size(steps=30), large_rows: int = 20_000_000) -> tuple[int, int]:
    """Bytes at this process's peak, a whole training with its checkpoint, and bytes of tables and optimizer state."""
    set_threads(None)
    trainer, _ = Contender(work, *draw_store(work / "store", large_rows, size.rows), size, "deep").trained()
    tensors = [table.weight for table in trainer.network.embedding_tables()]
    tensors += [tensor for name, tensor in trainer.optimizers.tensors().items() if name.startswith("embeddings")]
    return peak_memory_bytes(), sum(tensor.numel() * tensor.element_size() for tensor in tensors)
